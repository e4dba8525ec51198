namespace HybridArchitectures.Checkpoints;

/// <summary>A tensor of two checkpoints. Numbers are null where there is nothing to compare: another shape, one side only, or designs without weights.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Change">How it differs.</param>
/// <param name="Left">Type and shape on the left, such as <c>BFloat16[64, 32]</c>; null if it is not there.</param>
/// <param name="Right">Type and shape on the right.</param>
/// <param name="LeftNorm">The Euclidean norm on the left.</param>
/// <param name="RightNorm">The Euclidean norm on the right.</param>
/// <param name="DifferenceNorm">The Euclidean norm of left minus right.</param>
/// <param name="MaxDifference">The largest absolute difference of two numbers at one place.</param>
public sealed record TensorDifference(string Name, TensorChange Change, string? Left, string? Right, double? LeftNorm, double? RightNorm, double? DifferenceNorm, double? MaxDifference);
