namespace HybridArchitectures.Design;

/// <summary>Describes one difference between two designs.</summary>
/// <param name="Blocks">The positions, counted from 1, of the blocks with this difference. Empty for the design itself.</param>
/// <param name="Path">The property, for example <c>mixer.headSize</c>.</param>
/// <param name="Left">The value in the first design, or <c>absent</c>.</param>
/// <param name="Right">The value in the second design, or <c>absent</c>.</param>
public sealed record DesignDifference(EquatableList<int> Blocks, string Path, string Left, string Right)
{
    /// <summary>Returns the difference as text, for example <c>blocks 1-3, 5: mixer.stateSize: 64 -> 128</c>.</summary>
    public override string ToString() =>
        $"{(Blocks.Count == 0 ? "" : $"{(Blocks.Count == 1 ? "block" : "blocks")} {Ranges.Format(Blocks)}: ")}{Path}: {Left} -> {Right}";
}
