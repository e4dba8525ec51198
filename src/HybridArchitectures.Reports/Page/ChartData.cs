namespace HybridArchitectures.Reports.Page;

/// <summary>The numbers of a chart for the page's script (see page.js).</summary>
/// <param name="Window">Right end of the x axis, bottom and top of the y axis.</param>
/// <param name="Unit">Label of the x axis.</param>
/// <param name="Runs">The runs in order.</param>
sealed record ChartData(double[] Window, string Unit, ChartRun[] Runs);
