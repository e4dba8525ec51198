namespace HybridArchitectures.Design;

/// <summary>
/// Provides the base class for custom mixers. Derive a sealed record and define its letter, its checks and its counts. Register it with
/// <see cref="MixerSpec.Register{T}"/> if its designs are to be saved.
/// </summary>
public abstract partial record CustomMixerSpec : MixerSpec
{
    /// <inheritdoc/>
    public override void Check(int width) { }
}
