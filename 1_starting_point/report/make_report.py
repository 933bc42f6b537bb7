# Runs the notebook and writes the client's page: cd report && python make_report.py
import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor

nb = nbformat.read("weekly_report.ipynb", as_version=4)

ep = ExecutePreprocessor(timeout=600, kernel_name="python3")
ep.preprocess(nb, {"metadata": {"path": "."}})

# the client does not want to see code
exporter = HTMLExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
html, resources = exporter.from_notebook_node(nb)

with open("weekly_report.html", "w", encoding="utf-8") as f:
    f.write(html)

print("wrote weekly_report.html")
