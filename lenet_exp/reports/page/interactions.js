// A chart of the interaction of two flags: mean accuracy for each value of one flag, with a line for each value of the other.
const SHIFT = 5; // pixels between the intervals of neighboring lines

function interactionChart(its, by) {
  if (!its) return null;
  const series = its.cells.flatMap((cells, k) => {
    const color = COLOURS[k % COLOURS.length];
    const shift = SHIFT * (k - (its.cells.length - 1) / 2);
    const draw = (params, api) => {
      const cell = cells[params.dataIndex];
      const [[x, low], [, high]] = [cell.low, cell.high].map((v) => api.coord([params.dataIndex, v]));
      const line = (shape) => ({ type: "line", shape, style: { stroke: color, lineWidth: 1.4 } });
      const ends = [low, high].map((y) => line({ x1: x + shift - 3, y1: y, x2: x + shift + 3, y2: y }));
      return { type: "group", children: [line({ x1: x + shift, y1: low, x2: x + shift, y2: high }), ...ends] };
    };
    return [
      { type: "line", name: its.values[0][k], color, data: cells.map((cell) => cell.mean), symbol: "circle", symbolSize: 6, emphasis: { focus: "series" }, tooltip: { formatter: (p) => interactionTip(its, k, p.dataIndex) } },
      { type: "custom", silent: true, clip: true, renderItem: draw, data: cells.map((cell, i) => [i, cell.mean]), tooltip: { show: false } },
    ];
  });
  const cells = its.cells.flat();
  const range = most(cells.map((cell) => cell.mean), { least: 0.005 });
  const y = axis(around(range, cells.filter((cell) => cell.mean >= range[0]).map((cell) => [cell.low, cell.high])), { percent: true });
  const ends = marks(its.cells.flatMap((row) => row.map((cell, i) => [i, cell.mean])), y);
  const option = based({
    grid: { bottom: 34, top: 24 },
    xAxis: { type: "category", data: its.values[1], name: its.along, nameGap: 26 },
    yAxis: { ...y, name: `${by} validation ${METRIC.name}`, nameGap: 52 },
    legend: { data: its.values[0], formatter: (name) => `${its.lines.split(" with ")[0]} = ${name}` },
    series: ends.data.length ? [...series, ends] : series,
    tooltip: { trigger: "item" },
  });
  return { option, note: `${its.said}. Whiskers: 95% confidence intervals of the means over seeds.${marked(ends)}` };
}

function interactionTip(its, line, i) {
  const cell = its.cells[line][i];
  return tip(`${its.lines} = ${its.values[0][line]}, ${its.along} = ${its.values[1][i]}`, percent(cell.mean), `95%: ${percent(cell.low)} to ${percent(cell.high)}`);
}
