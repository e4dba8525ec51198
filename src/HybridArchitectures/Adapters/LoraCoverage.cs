using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Adapters;

/// <summary>What share of a model adapters touch, part by part; as text, a table.</summary>
/// <param name="Parts">The parts the model has.</param>
/// <param name="Blocks">Blocks of the model.</param>
/// <param name="AdaptedBlocks">Blocks with at least one adapter.</param>
/// <param name="Untouched">Names of the projections without adapter.</param>
public sealed record LoraCoverage(EquatableList<LoraCoverageRow> Parts, int Blocks, int AdaptedBlocks, EquatableList<string> Untouched)
{
    /// <summary>All parts together.</summary>
    public LoraCoverageRow Total => new("total", Parts.Sum(part => part.Projections), Parts.Sum(part => part.Adapted), Parts.Sum(part => part.Parameters),
        Parts.Sum(part => part.AdaptedParameters), Parts.Sum(part => part.AdapterParameters));

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine("part              projections   adapted    parameters   touched   trained");
        foreach (var row in Parts.Append(Total))
        {
            text.AppendLine(string.Create(CultureInfo.InvariantCulture,
                $"{row.Part,-16}  {row.Projections,11}  {row.Adapted,8}  {row.Parameters,12}  {row.ParameterShare,8:0.0%}  {row.AdapterParameters,8}"));
        }
        text.AppendLine(string.Create(CultureInfo.InvariantCulture, $"{AdaptedBlocks} of {Blocks} blocks have adapters"));
        return text.ToString();
    }
}
