using System.Globalization;
using System.Text;

namespace HybridArchitectures.Evaluation.Tasks;

/// <summary>Contains a table of numbers that is drawn in colours, such as accuracy by length and depth.</summary>
/// <param name="Title">The title of the table.</param>
/// <param name="RowTitle">The quantity that differs between rows.</param>
/// <param name="Rows">The label of each row, from top to bottom.</param>
/// <param name="ColumnTitle">The quantity that differs between columns.</param>
/// <param name="Columns">The label of each column.</param>
/// <param name="Values">The numbers by row and column. Null means that there is no number.</param>
/// <param name="Min">The number that is drawn in the first colour. The default value is 0.</param>
/// <param name="Max">The number that is drawn in the last colour. The default value is 1.</param>
public sealed record HeatMap(
    string Title, string RowTitle, IReadOnlyList<string> Rows, string ColumnTitle, IReadOnlyList<string> Columns,
        IReadOnlyList<IReadOnlyList<double?>> Values,
    double Min = 0, double Max = 1)
{
    /// <summary>Gets the numbers by row and column. Null means that there is no number.</summary>
    /// <exception cref="ArgumentException">The numbers of rows or columns differ from those of the labels.</exception>
    public IReadOnlyList<IReadOnlyList<double?>> Values { get; init; } =
        Values is not null && Values.Count == Rows?.Count && Values.All(row => row?.Count == Columns?.Count) ? Values
            : throw Require.Unfit(nameof(Values), $"Values has other rows or columns than {Rows?.Count ?? 0} x {Columns?.Count ?? 0}",
                "one number, or null, for each label");

    /// <summary>Returns the table as plain text, one line per row.</summary>
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
