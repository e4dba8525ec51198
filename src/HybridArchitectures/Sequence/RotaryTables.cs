using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Computes cosines and sines of rotary positions, whose frequencies can depend on the number of tokens of a row.</summary>
static class RotaryTables
{
    /// <summary>Returns cosines and sines at positions, for a pass whose longest row has <paramref name="length"/> tokens.</summary>
    public static (Tensor Cosine, Tensor Sine) At(Tensor positions, RotarySpec spec, int headSize, long length)
    {
        var frequencies = Rotary.InverseFrequencies(spec.Dimensions(headSize), spec.Theta, spec.Scaling, positions.device, length);
        return Rotary.Table(positions, frequencies, spec.Scaling?.Amplitude ?? 1);
    }

    /// <summary>
    /// Returns cosines and sines of the first positions, (positions, pairs) each, for rows that grow by one token at a time: position p has the
    /// frequencies of a row of p + 1 tokens.
    /// </summary>
    public static (Tensor Cosine, Tensor Sine) OfGrowingRows(RotarySpec spec, int headSize, long positions, Device device)
    {
        using var scope = NewDisposeScope();
        var cosines = new List<Tensor>();
        var sines = new List<Tensor>();
        void Add(long first, long count, long length)
        {
            var (cosine, sine) = At(Indices.Range(first, count, device), spec, headSize, length);
            cosines.Add(cosine.squeeze(0));
            sines.Add(sine.squeeze(0));
        }
        long original = spec.Scaling switch
        {
            DynamicRotaryScaling dynamic => dynamic.OriginalContextLength,
            LongRotaryScaling two => two.OriginalContextLength,
            _ => positions,
        };
        original = Math.Min(original, positions);
        Add(0, original, original);
        // the long factors are the same at every length, the dynamic base grows with each token
        if (spec.Scaling is LongRotaryScaling && original < positions) Add(original, positions - original, positions);
        else
            for (long position = original; position < positions; position++) Add(position, 1, position + 1);
        return (cat([.. cosines]).MoveToOuterDisposeScope(), cat([.. sines]).MoveToOuterDisposeScope());
    }
}
