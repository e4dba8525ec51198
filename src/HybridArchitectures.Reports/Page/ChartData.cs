namespace HybridArchitectures.Reports.Page;

/// <summary>Contains the numbers of a chart for the script of the page (see page.js).</summary>
/// <param name="Window">The right end of the x axis, and the bottom and top of the y axis.</param>
/// <param name="Unit">The label of the x axis.</param>
/// <param name="Runs">The runs in order.</param>
sealed record ChartData(double[] Window, string Unit, ChartRun[] Runs);
