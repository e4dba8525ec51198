namespace HybridArchitectures.Design;

/// <summary>Base of mixers written by users. Derive a sealed record, give it a letter, its checks and its count, and
/// <see cref="MixerSpec.Register{T}"/> it once if its designs are to be saved.</summary>
public abstract partial record CustomMixerSpec : MixerSpec
{
    /// <inheritdoc/>
    public override void Check(int width) { }
}
