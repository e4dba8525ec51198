using HybridArchitectures.Design;

namespace HybridArchitectures.Modules;

/// <summary>
/// Provides the base of custom mixers. Derive a sealed record with its letter, its sizes, its counts and the creation of its module, and <see
/// cref="MixerSpec.Register{T}"/> it once if its designs are to be saved. Every count is abstract: a number that nobody wrote is never taken for 0.
/// </summary>
public abstract record CustomMixerSpec : MixerSpec
{
    internal sealed override bool IsCustom => true;

    internal sealed override MixerKind Kind => MixerKind.Other;

    /// <inheritdoc/>
    public override void Check(int width) { }

    /// <summary>Counts the entries of the weight matrices that each token is multiplied with. By default all parameters count.</summary>
    /// <param name="width">Channels of the residual stream.</param>
    public override double CountMatrixWeights(int width) => CountParameters(width);

    /// <summary>Counts the bytes of this mixer's state for one row.</summary>
    /// <param name="width">Channels of the residual stream.</param>
    /// <param name="length">Tokens seen.</param>
    /// <param name="elementSize">Bytes of an activation.</param>
    public abstract long CountCacheBytes(int width, long length, int elementSize);

    /// <inheritdoc/>
    public sealed override MixerCache CountCache(int width, long length, int elementSize)
    {
        long bytes = CountCacheBytes(width, length, elementSize);
        Require.AtLeast(bytes, 0, $"{GetType().Name}.{nameof(CountCacheBytes)}");
        return new(Other: bytes);
    }

    /// <summary>
    /// Counts the bytes of the cache for one row as Table 1 of arXiv 2510.04800 does. By default <see cref="CountCacheBytes"/> with two bytes per
    /// value.
    /// </summary>
    /// <param name="width">Channels of the residual stream.</param>
    /// <param name="length">Tokens seen.</param>
    public override double CountPaperCacheBytes(int width, long length) => CountCache(width, length, 2).Other;

    /// <summary>Returns how the mixer is named and drawn. By default its name is the type's name without <c>Spec</c>, in words.</summary>
    public override MixerDescription Describe()
    {
        string type = GetType().Name, name = type.EndsWith("Spec", StringComparison.Ordinal) && type.Length > 4 ? type[..^4] : type;
        // MyOwnMixerSpec: My own mixer
        string words = name[0] + string.Concat(
            name.Skip(1).Select(letter => char.IsUpper(letter) ? $" {char.ToLowerInvariant(letter)}" : letter.ToString()));
        return new(words, type, "", MixerColor.Custom);
    }

    /// <summary>
    /// Creates the module of this spec. Take its parameters from <paramref name="factory"/>, so that seeds and devices are respected.
    /// </summary>
    /// <param name="factory">Makes parameters and projections.</param>
    public abstract Mixer CreateMixer(ModuleFactory factory);
}
