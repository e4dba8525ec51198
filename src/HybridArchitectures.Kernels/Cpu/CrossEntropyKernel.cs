using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Computes the loss of each row of logits, and replaces the logits by their gradient, in three passes over a row that mostly stays in the cache.
/// </summary>
static unsafe class CrossEntropyKernel
{
    /// <summary>Processes the rows.</summary>
    /// <param name="logits">The logits, shape (rows, V), float32, contiguous. They are overwritten.</param>
    /// <param name="targets">The targets, shape (rows), int64.</param>
    /// <param name="losses">Receives the losses, shape (rows), float32.</param>
    /// <param name="options">The terms of the loss.</param>
    /// <param name="factor">The multiplier of the gradient. Null means that no gradient is needed.</param>
    public static void Run(Tensor logits, Tensor targets, Tensor losses, CrossEntropyOptions options, float? factor)
    {
        using var scope = NewDisposeScope();
        targets = targets.contiguous();
        long rows = logits.size(0), classes = logits.size(1);
        float* values = (float*)TensorMemory.Pointer(logits), results = (float*)TensorMemory.Pointer(losses);
        long* wanted = (long*)TensorMemory.Pointer(targets);
        CpuTasks.Share(rows, 2 * classes, (from, to) =>
        {
            for (long row = from; row < to; row++)
            {
                float* z = values + row * classes;
                if (wanted[row] != options.IgnoreIndex) results[row] = Row(z, classes, wanted[row], options, factor);
                else
                {
                    results[row] = 0;
                    if (factor is null) continue;
                    for (long i = 0; i < classes; i++) z[i] = 0;
                }
            }
        });
        GC.KeepAlive(logits);
        GC.KeepAlive(targets);
        GC.KeepAlive(losses);
    }

    static float Row(float* z, long classes, long target, CrossEntropyOptions options, float? factor)
    {
        float scale = (float)options.LogitScale;
        double smoothing = options.LabelSmoothing;
        var scales = Vector256.Create(scale);
        long whole = classes - classes % RowMath.Lanes;
        var (maxima, other) = (Vector256.Create(float.NegativeInfinity), Vector256.Create(float.NegativeInfinity));
        for (long i = 0; i < whole; i += RowMath.Lanes) (maxima, other) = (other, Vector256.MaxNative(maxima, Vector256.Load(z + i) * scales));
        maxima = Vector256.MaxNative(maxima, other);
        float maximum = float.NegativeInfinity, mean = 0;
        for (int lane = 0; lane < RowMath.Lanes; lane++) maximum = Larger(maximum, maxima[lane]);
        for (long i = whole; i < classes; i++) maximum = Larger(maximum, z[i] * scale);
        if (smoothing > 0) mean = (float)(Sum(z, classes) * scale / classes);
        // relative to the maximum, so that nothing overflows
        float targetLogit = z[target] * scale - maximum;
        var origin = Vector256.Create(-maximum);
        var (even, odd) = (Vector256<float>.Zero, Vector256<float>.Zero);
        for (long i = 0; i < classes; i += RowMath.Lanes)
        {
            var below = Vector256.FusedMultiplyAdd(RowMath.Load<Float32Element>((byte*)z, i, classes), scales, origin);
            // values that are far below the maximum, including a logit of minus infinity, contribute 0
            var value = Vector256.AndNot(VectorMath.Exp(below), Vector256.LessThan(below, Vector256.Create(VectorMath.MinLogarithm)));
            if (i >= whole) value = Keep(value, classes - whole);
            (even, odd) = (odd, even + value);
            if (factor is not null) RowMath.Store<Float32Element>((byte*)z, i, classes, value);
        }
        double sum = Vector256.Sum(even + odd), log = Math.Log(sum), normalizer = log + maximum;
        double loss = log - (1 - smoothing) * targetLogit + options.ZLoss * normalizer * normalizer;
        if (smoothing > 0) loss -= smoothing * (mean - maximum);
        if (factor is not { } f) return (float)loss;
        var (slope, floor) = (Vector256.Create((float)((1 + 2 * options.ZLoss * normalizer) / sum * scale * f)),
            Vector256.Create((float)(smoothing / classes * scale * f)));
        for (long i = 0; i < classes; i += RowMath.Lanes)
            RowMath.Store<Float32Element>((byte*)z, i, classes, RowMath.Load<Float32Element>((byte*)z, i, classes) * slope - floor);
        z[target] -= (float)((1 - smoothing) * scale * f);
        return (float)loss;
    }

    // a NaN may be lost here, but the sum of exponentials shows it
    static float Larger(float a, float b) => a > b ? a : b;

    static double Sum(float* z, long classes)
    {
        double sum = 0;
        var lanes = Vector256<float>.Zero;
        long i = 0;
        for (; i + RowMath.Lanes <= classes; i += RowMath.Lanes) lanes += Vector256.Load(z + i);
        for (; i < classes; i++) sum += z[i];
        return sum + Vector256.Sum(lanes);
    }

    // the first `count` lanes, followed by zeros
    static Vector256<float> Keep(Vector256<float> values, long count) =>
        Vector256.ConditionalSelect(Vector256.LessThan(Vector256.Create(0, 1, 2, 3, 4, 5, 6, 7), Vector256.Create((int)count)).AsSingle(), values,
            Vector256<float>.Zero);
}
