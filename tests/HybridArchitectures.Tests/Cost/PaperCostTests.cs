using System.Globalization;
using System.Text;
using HybridArchitectures.Cost;
using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Cost;

public class PaperCostTests
{
    const string Begin = "<!-- figures: written by the tests -->\n", End = "<!-- end of figures -->\n";

    [Fact]
    public void Every_printed_figure_is_reproduced_or_its_deviation_has_a_reason()
    {
        var wrong = PaperFigure.All.Where(figure => figure.Holds != (figure.Deviation is null))
            .Select(figure => FormattableString.Invariant($"{figure.Recipe} {figure.Quantity}: {figure.Value:0.###}, printed {figure.Printed}, ")
                + $"deviation: {figure.Deviation ?? "none"}");
        Assert.True(!wrong.Any(), string.Join('\n', wrong));
        Assert.True(PaperFigure.All.Count(figure => figure.Deviation is null) > 2 * PaperFigure.All.Count(figure => figure.Deviation is not null));
    }

    [Theory]
    [InlineData("1B-llama", 7.449e9, 256.0)]
    [InlineData("1B-mamba", 6.121e9, 13.4)]
    public void Formulas_of_table_1_give_the_printed_magnitudes(string recipe, double flops, double mebibytes)
    {
        var cost = Recipes.Get(recipe).Design.Cost(8192);
        Assert.Equal(flops, cost.Flops().Training, 1e6);
        Assert.Equal(mebibytes, HybridArchitectures.Cost.CacheSize.Paper(cost.Design, 8192) / 1048576, 0.05);
    }

    [Fact]
    public void Document_lists_all_figures()
    {
        string path = Path.Combine(Path.GetDirectoryName(Tests.Design.RecipesDocument.Path)!, "cost.md");
        string text = File.ReadAllText(path).ReplaceLineEndings("\n");
        int begin = text.IndexOf(Begin, StringComparison.Ordinal), end = text.IndexOf(End, StringComparison.Ordinal);
        Assert.True(begin >= 0 && end > begin, "docs/reference/cost.md lacks its marks");
        string updated = text[..(begin + Begin.Length)] + Table() + text[end..];
        if (Environment.GetEnvironmentVariable("UPDATE_DOCS") == "1") File.WriteAllText(path, updated);
        else Assert.True(text == updated, "docs/reference/cost.md is out of date: run this test with UPDATE_DOCS=1");
    }

    static string Table()
    {
        var text =
            new StringBuilder(
            "\n| recipe | FLOPs for 60B tokens, 1e20 | cache at 8K, MiB | tokens at Llama's FLOPs, B | tokens at 4e20, B |\n|---|---|---|---|---|\n");
        var reasons = PaperFigure.All.Select(figure => figure.Deviation).OfType<string>().Distinct().ToList();
        foreach (var row in PaperFigure.All.GroupBy(figure => figure.Recipe))
        {
            string Cell(PaperQuantity quantity) => row.FirstOrDefault(figure => figure.Quantity == quantity) is not { } figure ? ""
                : figure.Value.ToString("0.00", CultureInfo.InvariantCulture) + $" ({figure.Printed})"
                + (figure.Deviation is { } why ? $" [{(char)('a' + reasons.IndexOf(why))}]" : "");
            text.Append(CultureInfo.InvariantCulture,
                $"| {row.Key} | {Cell(PaperQuantity.Flops)} | {Cell(PaperQuantity.Cache)} | {Cell(PaperQuantity.TokensAsLlama)} | "
                + $"{Cell(PaperQuantity.TokensScaling)} |\n");
        }
        text.Append('\n');
        for (int i = 0; i < reasons.Count; i++) text.Append(CultureInfo.InvariantCulture, $"- {(char)('a' + i)}: {reasons[i]}.\n");
        return text.Append('\n').ToString();
    }
}
