"""Tables, part by part: `python -m tests.benchmarks.tables --part NAME` measures one part and writes its page.

imputation: errors and intervals of imputed entries of real tables, beside scikit-learn.
marginals: distance of the generated values of a column to real ones, for columns of many shapes.
reading: real CSV files as betaline and other readers read them, compared with what their authors say they hold.
size: time, memory and temporary files of the ingest of tables of many sizes; resumes with `--keep FOLDER` as well.
synthesis: rows drawn by `table_vae`, TVAE and CTGAN in place of real ones; `--keep FOLDER` lets it resume.
"""
