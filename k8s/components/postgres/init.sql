-- Run once, on an empty data folder: a role for each service, and a database that nobody else may enter.
\getenv optuna OPTUNA_PASSWORD
\getenv mlflow MLFLOW_PASSWORD
\getenv mlflow_auth MLFLOW_AUTH_PASSWORD
CREATE ROLE optuna LOGIN PASSWORD :'optuna';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE mlflow_auth LOGIN PASSWORD :'mlflow_auth';
CREATE DATABASE optuna OWNER optuna;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow_auth;
REVOKE CONNECT ON DATABASE optuna, mlflow, mlflow_auth FROM PUBLIC;
