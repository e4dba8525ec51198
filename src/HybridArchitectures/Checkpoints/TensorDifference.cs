namespace HybridArchitectures.Checkpoints;

/// <summary>
/// Describes a tensor of two checkpoints. Numbers are null if there is nothing to compare: different shapes, one side only, or designs without
/// weights.
/// </summary>
/// <param name="Name">The name of the tensor.</param>
/// <param name="Change">The kind of difference.</param>
/// <param name="Left">The dtype and shape on the left, for example <c>BFloat16[64, 32]</c>. Null if it is missing.</param>
/// <param name="Right">The dtype and shape on the right. Null if it is missing.</param>
/// <param name="LeftNorm">The Euclidean norm on the left.</param>
/// <param name="RightNorm">The Euclidean norm on the right.</param>
/// <param name="DifferenceNorm">The Euclidean norm of left minus right.</param>
/// <param name="MaxDifference">The maximum absolute difference of two corresponding values.</param>
public sealed record TensorDifference(
    string Name, TensorChange Change, string? Left, string? Right, double? LeftNorm, double? RightNorm, double? DifferenceNorm,
    double? MaxDifference)
{
    /// <summary>Gets the kind of the difference.</summary>
    public TensorChange Change { get; init => field = Require.Defined(value, nameof(Change)); } = Require.Defined(Change, nameof(Change));
}
