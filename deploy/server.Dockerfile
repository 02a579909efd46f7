# The MLflow server for compose.yaml. MLflow 3.17 and newer read the administrator's password from the environment.
FROM python:3.12-slim
RUN pip install --no-cache-dir 'mlflow[auth]>=3.17' 'psycopg[binary]>=3.2.2'
RUN useradd --create-home mlflow && mkdir /artifacts && chown mlflow /artifacts
USER mlflow
WORKDIR /home/mlflow
