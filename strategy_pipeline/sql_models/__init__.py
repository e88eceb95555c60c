"""SQL models: the files of ``dbt_like_sql/`` as tables of the lake, without Dagster; the graph is made in ``defs/``."""
