using System.Collections.Concurrent;
using HybridArchitectures.Design;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Sequence;

/// <summary>Computes cosines and sines of rotary positions, whose frequencies can depend on the number of tokens of a row.</summary>
static class RotaryTables
{
    const int MaxStored = 64;

    static readonly ConcurrentDictionary<(RotarySpec, int, long, string), Tensor> Stored = new();

    /// <summary>Returns cosines and sines at positions, for a pass whose longest row has <paramref name="length"/> tokens.</summary>
    public static (Tensor Cosine, Tensor Sine) At(Tensor positions, RotarySpec spec, int headSize, long length)
    {
        return Rotary.Table(positions, Frequencies(spec, headSize, length, positions.device), spec.Scaling?.Amplitude ?? 1);
    }

    // On a GPU they stay on the device for as long as the process runs: a copy in every pass would wait for the device, and cannot be captured.
    static Tensor Frequencies(RotarySpec spec, int headSize, long length, Device device)
    {
        Tensor Create() => Rotary.InverseFrequencies(spec.Dimensions(headSize), spec.Theta, spec.Scaling, device, length);
        if (device.type != TorchSharp.DeviceType.CUDA) return Create();
        var key = (spec, headSize, spec.Scaling is null ? 0 : length, device.ToString());
        if (Stored.TryGetValue(key, out var stored)) return stored;
        if (Stored.Count >= MaxStored) return Create();
        var created = Create().DetachFromDisposeScope();
        if (Stored.TryAdd(key, created)) return created;
        created.Dispose();
        return Stored[key];
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
