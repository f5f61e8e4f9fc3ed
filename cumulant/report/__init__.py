"""What a run shows: in the terminal, in one HTML file, in figures, and beside other runs.

Everything here reads run directories and nothing else: no torch, and nothing that a directory names is imported.
A directory may come from a stranger, so whatever is printed from it is escaped.

=============  =========================================================================
`load`         a directory becomes a `RunGroup`; torn and missing files become notes
`evaluation`   evaluation.json, checked and typed; what does not fit is left out
`curves`       a metric over time, merged over seeds
`wording`      how numbers, durations and names are written, everywhere the same
`progress`     the live display of a training
`terminal`     evaluation, run and comparison as text
`theme`        the colours of figures and page, light and dark
`plots`        figures as SVG or PNG
`html`         report.html
`markup`       the page that every report is
`compare`      several runs side by side
`align_data`, `align_load`, `align_wording`, `align_plots`, `align_html`, `align_texts`, `align_terminal`, `align_compare`
               the same for aligned language models: judgement.json, and what it shows
`calibration`  the table of reliability of a reward model, and its figure
`trials`, `sweep_plots`, `sweep_html`, `sweep_terminal`   the same for a sweep: sweep.json, and what it shows
=============  =========================================================================
"""
