namespace HybridArchitectures.Design;

/// <summary>One thing in which two designs differ.</summary>
/// <param name="Blocks">1-based positions of the blocks that differ in just this way; empty for the design itself.</param>
/// <param name="Path">The property, such as <c>mixer.headSize</c>.</param>
/// <param name="Left">What it is in the first design; <c>absent</c> if it has no such thing.</param>
/// <param name="Right">What it is in the second.</param>
public sealed record DesignDifference(EquatableList<int> Blocks, string Path, string Left, string Right)
{
    /// <summary>Such as <c>blocks 1-3, 5: mixer.stateSize: 64 -> 128</c>.</summary>
    public override string ToString() => $"{(Blocks.Count == 0 ? "" : $"{(Blocks.Count == 1 ? "block" : "blocks")} {Ranges.Format(Blocks)}: ")}{Path}: {Left} -> {Right}";
}
