def write(results, out, chapters):
    (out / "report.md").write_text("")
