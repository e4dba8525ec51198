namespace HybridArchitectures.Design;

public abstract partial record CustomMixerSpec
{
    /// <summary>
    /// Returns the forward FLOPs between tokens for one token that sees <paramref name="visible"/> tokens (a mean over a sequence). FLOPs with
    /// parameters are counted from the parameters. The default is 0.
    /// </summary>
    public virtual double CountMixingFlops(int width, double visible) => 0;

    /// <summary>Returns the bytes of the state of this mixer for one row after <paramref name="length"/> tokens. The default is 0.</summary>
    public virtual long CountCacheBytes(int width, long length, int elementSize) => 0;
}
