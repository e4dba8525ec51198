namespace HybridArchitectures.Design;

/// <summary>Describes a mixer for tables and pictures.</summary>
/// <param name="Name">The kind of mixer, such as <c>Mamba-2</c>.</param>
/// <param name="Summary">Kind and sizes in one short line, such as <c>Mamba-2 32x64, state 128</c>.</param>
/// <param name="Details">The sizes in words, such as <c>32 heads × 64, state 128</c>.</param>
/// <param name="Color">The colour of its box.</param>
/// <param name="SecondColor">The colour of the lower half of its box, for a mixer of two branches; null for one colour.</param>
public sealed record MixerDescription(string Name, string Summary, string Details, MixerColor Color, MixerColor? SecondColor = null)
{
    /// <summary>Gets the colour of the box.</summary>
    public MixerColor Color { get; init => field = Require.Defined(value, nameof(Color)); } = Require.Defined(Color, nameof(Color));

    /// <summary>Gets the colour of the lower half of the box, for a mixer of two branches, or null.</summary>
    public MixerColor? SecondColor { get; init => field = Require.Defined(value, nameof(SecondColor)); } =
        Require.Defined(SecondColor, nameof(SecondColor));

    /// <summary>Returns a number with its noun, such as <c>1 head</c> or <c>1,024 heads</c>.</summary>
    internal static string Counted(int count, string noun) => FormattableString.Invariant($"{count:N0} {noun}{(count == 1 ? "" : "s")}");
}
