-- A login and a database for each server, made when PostgreSQL starts on an empty volume. The passwords come from the
-- environment of the container; without them this fails, and the container with it.
\getenv prefect_password PREFECT_DATABASE_PASSWORD
\getenv mlflow_password MLFLOW_DATABASE_PASSWORD

CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE DATABASE prefect OWNER prefect;
REVOKE ALL ON DATABASE prefect FROM PUBLIC;

CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_users OWNER mlflow;
REVOKE ALL ON DATABASE mlflow, mlflow_users FROM PUBLIC;
