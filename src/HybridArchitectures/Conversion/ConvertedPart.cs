namespace HybridArchitectures.Conversion;

/// <summary>Describes where a part of a tensor of a converted model comes from.</summary>
/// <param name="Tensor">The name of the tensor in a checkpoint.</param>
/// <param name="Part">The part of the tensor, such as "B"; empty for a whole tensor.</param>
/// <param name="Elements">The number of elements of the part.</param>
/// <param name="Origin">Whether the values are kept, derived or fresh.</param>
/// <param name="Source">The tensor or rule from which the values come; empty for fresh values.</param>
public sealed record ConvertedPart(string Tensor, string Part, long Elements, WeightOrigin Origin, string Source)
{
    /// <summary>Gets the origin of the weights.</summary>
    public WeightOrigin Origin { get; init => field = Require.Defined(value, nameof(Origin)); } = Require.Defined(Origin, nameof(Origin));
}
