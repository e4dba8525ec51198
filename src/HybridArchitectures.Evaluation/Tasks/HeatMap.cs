using System.Globalization;
using System.Text;

namespace HybridArchitectures.Evaluation;

/// <summary>A table of numbers to draw as colours, such as accuracy by length and depth.</summary>
/// <param name="Title">What it shows.</param>
/// <param name="RowTitle">What differs between rows.</param>
/// <param name="Rows">The label of each row, first to last from above.</param>
/// <param name="ColumnTitle">What differs between columns.</param>
/// <param name="Columns">The label of each column.</param>
/// <param name="Values">The numbers by row and column; null where there is none.</param>
/// <param name="Min">The number drawn in the first colour. The default value is 0.</param>
/// <param name="Max">The number drawn in the last colour. The default value is 1.</param>
public sealed record HeatMap(
    string Title, string RowTitle, IReadOnlyList<string> Rows, string ColumnTitle, IReadOnlyList<string> Columns,
        IReadOnlyList<IReadOnlyList<double?>> Values,
    double Min = 0, double Max = 1)
{
    /// <summary>Writes the table as plain text, one line per row.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(Title).Append('\n');
        int first = Rows.Append(RowTitle).Max(label => label.Length), width = Columns.Append("0.000").Max(label => label.Length) + 2;
        text.Append(RowTitle.PadRight(first));
        foreach (var column in Columns) text.Append(column.PadLeft(width));
        text.Append("   ").Append(ColumnTitle).Append('\n');
        for (int row = 0; row < Rows.Count; row++)
        {
            text.Append(Rows[row].PadRight(first));
            foreach (var value in Values[row]) text.Append((value?.ToString("0.000", CultureInfo.InvariantCulture) ?? "-").PadLeft(width));
            text.Append('\n');
        }
        return text.ToString();
    }
}
