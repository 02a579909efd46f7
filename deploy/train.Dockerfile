# Image for training on CPUs: docker build -f deploy/train.Dockerfile -t lenet-exp .
# For a smaller image, add --build-arg TORCH_INDEX=<URL of PyTorch's CPU index> (see https://pytorch.org/get-started).
# The default CUDA build also works, but the image is 5 GB larger.
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
ARG TORCH_INDEX=
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} 'torch>=2.10' 'torchvision>=0.25'
COPY pyproject.toml README.md LICENSE /src/
COPY conf /src/conf
COPY lenet_exp /src/lenet_exp
COPY hydra_plugins /src/hydra_plugins
RUN pip install --no-cache-dir '/src[search]'
RUN useradd --create-home lenet && mkdir /outputs /data && chown lenet /outputs /data
USER lenet
WORKDIR /home/lenet
ENV LENET_EXP_OUTPUTS=/outputs LENET_EXP_DATA=/data
VOLUME /outputs /data
ENTRYPOINT ["python", "-m", "lenet_exp"]
CMD ["train", "--help"]
