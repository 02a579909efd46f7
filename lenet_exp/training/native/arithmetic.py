"""Powers and cosines that are bit-identical on every machine: only sums and products are used.

The corresponding functions of C libraries give different results on different machines.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal

# Taylor series with ten terms each, accurate to the last digit for |x| <= pi / 4.
_COSINE = [(-1) ** k / math.factorial(2 * k) for k in range(10)]
_SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)]


def whole_power(base: float, exponent: int) -> float:
    """Return base ** exponent for an integer exponent >= 0, computed by repeated squaring."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def power(base: float, exponent: float) -> float:
    """Return base ** exponent for both >= 0, computed with 40 digits and then rounded."""
    if exponent == 0:
        return 1.0
    if base in (0.0, 1.0):
        return base

    digits40 = Context(prec=40)
    return float(digits40.power(Decimal(base), Decimal(exponent)))


def cosine(x: float) -> float:
    """Return the cosine of x, which must be in [0, pi]."""
    if x > math.pi / 2:
        return -cosine(math.pi - x)

    if x > math.pi / 4:
        y = math.pi / 2 - x
        return y * _polynomial(_SINE, y * y)

    return _polynomial(_COSINE, x * x)


def _polynomial(coefficients: list[float], x: float) -> float:
    """Return the sum of coefficients[i] * x ** i, by Horner's method."""
    value = 0.0
    for c in reversed(coefficients):
        value = value * x + c
    return value
