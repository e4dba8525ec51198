namespace HybridArchitectures.Design;

public abstract partial record CustomMixerSpec
{
    /// <summary>Operations between positions for one token that sees so many positions (a mean over a text), forward; those with parameters are counted from them. 0 unless said otherwise.</summary>
    public virtual double CountMixingFlops(int width, double visible) => 0;

    /// <summary>Bytes of this mixer's state for one row after so many tokens. 0 unless said otherwise.</summary>
    public virtual long CountCacheBytes(int width, long length, int elementSize) => 0;
}
