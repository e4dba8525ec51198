using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda.Attention;

/// <summary>Contains the data that the launches of one forward or backward pass of attention share.</summary>
abstract class AttentionCall
{
    /// <summary>Specifies the window if there is none.</summary>
    public const long Unbounded = 1 << 30;

    readonly Tensor query, key, value;
    readonly Tensor? bounds, sinkLogits;
    readonly AttentionArguments numbers;

    protected AttentionCall(CudaDevice device, AttentionInputs inputs, Tensor? bounds)
    {
        var (query, key, value) = (inputs.Query, inputs.Key, inputs.Value);
        Device = device;
        sinkLogits = CudaMemory.Float32(inputs.SinkLogits);
        (this.query, this.key, this.value, this.bounds) = (Mappable(query), Mappable(key), Mappable(value), bounds);
        numbers = new()
        {
            Bounds = CudaMemory.Address(bounds), Batch = query.size(0), Queries = query.size(1), Keys = key.size(1), Heads = query.size(2),
            KeyHeads = key.size(2), QuerySize = query.size(3), ValueSize = value.size(3), Window = Math.Min(inputs.Window ?? Unbounded, Unbounded),
            Sinks = Math.Min(inputs.Sinks, Unbounded), SinkLogits = CudaMemory.Address(sinkLogits), Scale = (float)inputs.Scale,
            ScaleLog2 = (float)(inputs.Scale / Math.Log(2)), Cap = (float)(inputs.Scale / (inputs.Softcap ?? 1)),
            CapLog2 = (float)((inputs.Softcap ?? 0) / Math.Log(2)),
        };
    }

    /// <summary>
    /// Gets or sets which keys blocks of queries see, shape (batch, blocks of 64 queries, 6), integers in memory that is declared as float32. Null
    /// without bounds.
    /// </summary>
    public Tensor? Ranges { get; set; }

    protected CudaDevice Device { get; }

    /// <summary>Gets whether each query has explicit bounds.</summary>
    protected bool HasBounds => bounds is not null;

    /// <summary>Gets the options of the forward kernels.</summary>
    protected abstract KernelVariant ForwardVariant { get; }

    /// <summary>Returns the call for products of four warps (<paramref name="grouped"/>) or of single warps.</summary>
    public static AttentionCall Create(AttentionInputs inputs, Tensor? bounds, bool grouped)
    {
        var device = CudaRuntime.DeviceOf(inputs.Query);
        return grouped ? new AttentionGroupCall(device, inputs, bounds) : new AttentionWarpCall(device, inputs, bounds);
    }

    /// <summary>Returns the number rounded up to a multiple of <paramref name="to"/>.</summary>
    public static long Rounded(long number, long to) => (number + to - 1) / to * to;

    /// <summary>Computes the output and, if they are not null, the logarithms, shape (batch, heads, queries rounded up to 128).</summary>
    public void Forward(Tensor output, Tensor? logarithms)
    {
        var arguments = Arguments();
        if (bounds is not null)
        {
            long blocks = Rounded(numbers.Queries, AttentionBounds.Block) / AttentionBounds.Block;
            Ranges = CudaMemory.New(query, ScalarType.Float32, numbers.Batch, blocks, 6);
            arguments.Ranges = CudaMemory.Address(Ranges);
            Launch(ForwardVariant, "ranges", (blocks, numbers.Batch, 1), AttentionBounds.Block, AttentionBounds.Block * 6 * sizeof(int), arguments);
        }
        (arguments.Output, arguments.Logarithms) = (Map(output), CudaMemory.Address(logarithms));
        arguments.Together = numbers.Window < Unbounded ? 4 : numbers.Batch * numbers.Heads;
        LaunchForward(arguments);
        GC.KeepAlive((output, logarithms));
    }

    /// <summary>Computes the gradients of queries, keys and values.</summary>
    /// <returns>delta: (batch, heads, queries rounded up to 128), the sum over a head of output times gradient.</returns>
    public Tensor Backward(Tensor gradient, Tensor output, Tensor logarithms, Tensor dQuery, Tensor dKey, Tensor dValue)
    {
        gradient = Mappable(gradient);
        var delta = Single(numbers.Batch * numbers.Heads * Rounded(numbers.Queries, 128));
        var arguments = Arguments();
        arguments.Ranges = CudaMemory.Address(Ranges);
        (arguments.Logarithms, arguments.Delta) = (CudaMemory.Address(logarithms), CudaMemory.Address(delta));
        (arguments.Gradient, arguments.DKey, arguments.DValue) = (Map(gradient), Map(dKey), Map(dValue));
        arguments.DQuery = CudaMemory.Address(dQuery);
        (arguments.PlainOutput, arguments.PlainGradient) = (CudaMemory.Address(output), CudaMemory.Address(gradient));
        (arguments.GradientRow, arguments.GradientToken, arguments.GradientHead) = (gradient.stride(0), gradient.stride(1), gradient.stride(2));
        LaunchBackward(arguments);
        GC.KeepAlive((gradient, output, logarithms, (dQuery, dKey, dValue)));
        return delta;
    }

    protected abstract void LaunchForward(AttentionArguments arguments);

    protected abstract void LaunchBackward(AttentionArguments arguments);

    /// <summary>Returns the map of a tensor (batch, tokens, heads, elements) as the kernels read it.</summary>
    protected abstract CudaTensorMap Map(nint address, (long Rows, long Tokens, long Heads, long Elements) sizes,
        (long Row, long Token, long Head) strides);

    protected void Launch(KernelVariant variant, string kernel, (long X, long Y, long Z) grid, int threads, int shared,
        in AttentionArguments arguments)
    {
        Device.Launch(variant, "attention_" + kernel, grid, threads, shared, arguments);
        GC.KeepAlive((query, key, value, bounds, Ranges, sinkLogits));
    }

    /// <summary>Returns new memory for float32 numbers.</summary>
    protected Tensor Single(long size) => CudaMemory.New(query, ScalarType.Float32, size);

    AttentionArguments Arguments()
    {
        var arguments = numbers;
        (arguments.Query, arguments.Key, arguments.Value) = (Map(query), Map(key), Map(value));
        return arguments;
    }

    CudaTensorMap Map(Tensor x)
    {
        // the stride of a dimension of size 1 has no meaning
        long head = x.size(2) == 1 ? x.size(3) : x.stride(2), token = x.size(1) == 1 ? head * x.size(2) : x.stride(1), row = x.size(0) == 1
            ? token * x.size(1) : x.stride(0);
        return Map(CudaMemory.Address(x), (x.size(0), x.size(1), x.size(2), x.size(3)),
            (row * sizeof(ushort), token * sizeof(ushort), head * sizeof(ushort)));
    }

    // contiguous elements of a head, and strides that are multiples of 16 bytes and not 0
    static Tensor Mappable(Tensor x)
    {
        bool Step(int dimension) => x.size(dimension) == 1 || (x.stride(dimension) > 0 && x.stride(dimension) % 8 == 0);
        bool fits = (x.size(3) == 1 || x.stride(3) == 1) && Step(0) && Step(1) && Step(2) && CudaMemory.Address(x) % 16 == 0;
        return fits ? x : x.is_contiguous() ? x.clone() : x.contiguous();
    }
}
