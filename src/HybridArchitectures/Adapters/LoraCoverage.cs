using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Adapters;

/// <summary>Describes the share of a model that has adapters, part by part. Its text is a table.</summary>
/// <param name="Parts">The parts of the model.</param>
/// <param name="Blocks">The number of blocks of the model.</param>
/// <param name="AdaptedBlocks">The number of blocks with at least one adapter.</param>
/// <param name="Untouched">The names of the projections without an adapter.</param>
public sealed record LoraCoverage(EquatableList<LoraCoverageRow> Parts, int Blocks, int AdaptedBlocks, EquatableList<string> Untouched)
{
    /// <summary>Gets the sum over all parts.</summary>
    public LoraCoverageRow Total =>
        new("total", Parts.Sum(part => part.Projections), Parts.Sum(part => part.Adapted), Parts.Sum(part => part.Parameters),
        Parts.Sum(part => part.AdaptedParameters), Parts.Sum(part => part.AdapterParameters));

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine("part              projections   adapted    parameters   touched   trained");
        foreach (var row in Parts.Append(Total))
        {
            text.AppendLine(string.Create(CultureInfo.InvariantCulture,
                $"{row.Part,-16}  {row.Projections,11}  {row.Adapted,8}  {row.Parameters,12}  {row.ParameterShare,8:0.0%}  "
                + $"{row.AdapterParameters,8}"));
        }
        text.AppendLine(string.Create(CultureInfo.InvariantCulture, $"{AdaptedBlocks} of {Blocks} blocks have adapters"));
        return text.ToString();
    }
}
