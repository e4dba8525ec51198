using System.Globalization;
using System.Text;
using HybridArchitectures.Design;

namespace HybridArchitectures.Conversion;

/// <summary>Lists where every weight of a converted model comes from. The elements of all parts add up to those of the model.</summary>
/// <param name="Parts">The parts of all tensors, in the order of the model.</param>
/// <param name="Unused">The names of the tensors of the source from which nothing was kept or derived.</param>
public sealed record ConversionReport(EquatableList<ConvertedPart> Parts, EquatableList<string> Unused)
{
    /// <summary>Gets the number of elements in all parts.</summary>
    public long Total => Parts.Sum(part => part.Elements);

    /// <summary>Gets the number of elements of one origin.</summary>
    public long Count(WeightOrigin origin) => Parts.Where(part => part.Origin == origin).Sum(part => part.Elements);

    /// <summary>
    /// Returns a Markdown table. Parts of the converted layers have one row each. All other tensors are summed up in the last row.
    /// </summary>
    public string ToTable()
    {
        var converted = Parts.Where(IsListed).ToArray();
        var text = new StringBuilder("| tensor | part | elements | origin | source |\n| --- | --- | ---: | --- | --- |\n");
        foreach (var part in converted)
            text.Append(CultureInfo.InvariantCulture, $"| {part.Tensor} | {part.Part} | {part.Elements:N0} ")
                .Append(CultureInfo.InvariantCulture, $"| {Name(part.Origin)} | {part.Source} |\n");
        long others = Total - converted.Sum(part => part.Elements);
        text.Append(CultureInfo.InvariantCulture, $"| {Parts.Count - converted.Length} other tensors | | {others:N0} | kept | the same names |\n");
        return text.ToString();
    }

    // what has the same name in the source and is kept as a whole tells nothing
    static bool IsListed(ConvertedPart part) => part.Origin != WeightOrigin.Kept || part.Part.Length > 0 || part.Source != part.Tensor;

    static string Name(WeightOrigin origin) => origin.ToString().ToLowerInvariant();

    /// <summary>Returns the shares of kept, derived and fresh elements in one line.</summary>
    public override string ToString()
    {
        string Share(WeightOrigin origin) =>
            string.Create(CultureInfo.InvariantCulture, $"{Count(origin):N0} {Name(origin)} ({100.0 * Count(origin) / Total:0.0} %)");
        return string.Create(CultureInfo.InvariantCulture, $"{Total:N0} elements: {Share(WeightOrigin.Kept)}, {Share(WeightOrigin.Derived)}, ")
            + $"{Share(WeightOrigin.Fresh)}";
    }
}
