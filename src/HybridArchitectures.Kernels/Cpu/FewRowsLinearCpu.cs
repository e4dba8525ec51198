using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Multiplies a weight with a few input rows. The weight is read once, row by row, and the inputs stay in the L1 cache. The operator is bound by the
/// bytes of the weight, which are prefetched, because hardware prefetches only up to the end of a page. Measured with weights of 78 MB: 22 GB/s on
/// one core of a Zen 4 server, where libtorch's product of one row reaches 10; 28 GB/s on one core and 45 GB/s on two cores of a Sapphire Rapids
/// server, where libtorch reaches 29 and 50.
/// </summary>
static unsafe class FewRowsLinearCpu
{
    const int BlockElements = 1 << 15;      // elements of the weight per task
    const int BytesAhead = 6144;
    const int ElementsPerTask = 8;          // reading an element is less work than an element in CpuTasks, by this factor

    public static Tensor Forward(FewRowsLinearInputs inputs) => ForwardMany([inputs])[0];

    /// <summary>Computes several products of one x. Their rows are shared among the threads together.</summary>
    public static Tensor[] ForwardMany(FewRowsLinearInputs[] all)
    {
        // a scope costs as much as a product of a small weight
        using var scope = Array.TrueForAll(all, IsPlain) ? null : NewDisposeScope();
        var x = all[0].X;
        var whole = CpuRows.Whole(x)!;
        long rows = whole.NumberOfElements / whole.size(-1), tasks = 0;
        var products = new Product[all.Length];
        for (int i = 0; i < all.Length; i++)
        {
            var result = NewResult(whole, all[i].Weight.size(0));
            products[i] = new Product(all[i].Weight, all[i].Bias, result, rows, tasks) { X = CpuRows.Pointer(whole) };
            tasks += products[i].Tasks;
        }
        Run(products, tasks);
        GC.KeepAlive(whole);
        return Array.ConvertAll(products,
            product => scope is null ? product.Result : CpuRows.As(product.Result, x).MoveToOuterDisposeScope());
    }

    /// <summary>
    /// Computes several products of x (..., inputs) in float32, or silu(gate) * up of two, with the operations of <paramref name="fusion"/>, with the
    /// results of separate operators.
    /// </summary>
    public static Tensor[] ForwardFused(Tensor x, ReadOnlySpan<(Tensor Weight, Tensor? Bias)> projections, bool gated, in FewRowsFusion fusion)
    {
        bool isPlain = IsWhole(x) && IsWhole(fusion.Gate) && IsWhole(fusion.Scale) && IsWhole(fusion.Residual);
        foreach (var (weight, bias) in projections) isPlain &= weight.is_contiguous() && IsWhole(bias);
        using var scope = isPlain ? null : NewDisposeScope();
        var whole = CpuRows.Whole(x)!;
        long width = whole.size(-1), rows = whole.NumberOfElements / width, tasks = 0;
        using var normed = new CpuTasks.Scratch(fusion.Norm == FewRowsNorm.None ? 0 : rows * width);
        float* memory = CpuRows.Pointer(whole);
        if (fusion.Norm != FewRowsNorm.None)
        {
            NormKernel.Forward(memory, CpuRows.Whole(fusion.Gate), CpuRows.Whole(fusion.Scale), normed.Memory, rows, width, (float)fusion.Epsilon);
            memory = normed.Memory;
        }
        var products = new Product[gated ? 1 : projections.Length];
        for (int i = 0; i < products.Length; i++)
        {
            var (weight, bias) = projections[i];
            products[i] = new Product(weight, bias, NewResult(whole, weight.size(0)), rows, tasks)
            {
                X = memory, Up = gated ? new(projections[1].Weight, projections[1].Bias) : null,
                Residual = CpuRows.Whole(fusion.Residual), Convolution = fusion.Convolution,
            };
            tasks += products[i].Tasks;
        }
        Run(products, tasks);
        GC.KeepAlive(whole);
        return Array.ConvertAll(products, product => scope is null ? product.Result : product.Result.MoveToOuterDisposeScope());
    }

    static bool IsPlain(FewRowsLinearInputs inputs) => IsWhole(inputs.X) && inputs.Weight.is_contiguous() && IsWhole(inputs.Bias);

    static bool IsWhole(Tensor? x) => x is null || (x.dtype == ScalarType.Float32 && x.is_contiguous());

    // (..., inputs) to (..., outputs)
    static Tensor NewResult(Tensor x, long outputs)
    {
        Span<long> sizes = stackalloc long[(int)x.dim()];
        for (int i = 0; i < sizes.Length; i++) sizes[i] = i == sizes.Length - 1 ? outputs : x.size(i);
        return CpuRows.New(ScalarType.Float32, sizes);
    }

    static void Run(Product[] products, long tasks)
    {
        long elements = 0;
        foreach (var product in products) elements += product.Elements;
        CpuTasks.Run(tasks, elements / ElementsPerTask, task =>
        {
            int at = products.Length - 1;
            while (products[at].FirstTask > task) at--;
            products[at].Run(task - products[at].FirstTask);
        });
        GC.KeepAlive(products);
    }

    // a weight and its bias in memory
    sealed class Matrix
    {
        readonly Tensor weight;
        readonly Tensor? bias;
        readonly float* shift;
        readonly byte* memory;
        readonly bool isNarrow;
        readonly long width;

        public Matrix(Tensor weight, Tensor? bias)
        {
            (this.weight, this.bias) = (weight.is_contiguous() ? weight : weight.contiguous(), CpuRows.Whole(bias));
            (isNarrow, width) = (weight.dtype == ScalarType.BFloat16, weight.size(1));
            shift = CpuRows.Pointer(this.bias);
            memory = (byte*)TensorMemory.Pointer(this.weight);
        }

        /// <summary>Computes outputs from .. to of every row; y is at output 0 of the first row, and rows are stride apart.</summary>
        public void Multiply(float* x, float* y, long rows, long stride, long from, long to)
        {
            if (isNarrow) Block<BFloat16Element>(x, memory, shift, y, rows, stride, width, from, to);
            else Block<Float32Element>(x, memory, shift, y, rows, stride, width, from, to);
        }
    }

    // one weight, whose rows are divided into tasks, and what follows the product
    sealed class Product(Tensor weight, Tensor? bias, Tensor result, long rows, long firstTask)
    {
        readonly Matrix matrix = new(weight, bias);
        readonly long outputs = weight.size(0), width = weight.size(1), block = BlockFor(weight.size(1));
        readonly float* memory = CpuRows.Pointer(result);

        /// <summary>Gets the number of the first task among those of all products.</summary>
        public long FirstTask => firstTask;

        public long Tasks => (outputs + block - 1) / block;

        public long Elements => outputs * width * (Up is null ? 1 : 2);

        public Tensor Result => result;

        /// <summary>Gets the input, (rows, inputs).</summary>
        public required float* X { get; init; }

        /// <summary>Gets the weight whose product is multiplied by silu of this one. Null means none.</summary>
        public Matrix? Up { get; init; }

        /// <summary>Gets what is added, (rows, outputs) without gaps. Null means nothing.</summary>
        public Tensor? Residual { get; init; }

        /// <summary>Gets a convolution over some outputs. Null means none.</summary>
        public FewRowsConvolutionStep? Convolution { get; init; }

        static long BlockFor(long width)
        {
            long block = Math.Max(1, BlockElements / Math.Max(1, width));
            return block > RowMath.Lanes ? block / RowMath.Lanes * RowMath.Lanes : block;
        }

        public void Run(long task)
        {
            long from = task * block, to = Math.Min(outputs, from + block);
            matrix.Multiply(X, memory, rows, outputs, from, to);
            if (Up is not null) Gate(from, to);
            if (Residual is not null) Add(from, to);
            if (Convolution is { } step)
                CausalConvolutionCpu.Step(step, memory, outputs, Math.Max(from, step.First), Math.Min(to, step.First + step.Weight.size(0)));
        }

        void Gate(long from, long to)
        {
            using var up = new CpuTasks.Scratch(rows * block);
            Up!.Multiply(X, up.Memory - from, rows, block, from, to);
            for (long row = 0; row < rows; row++)
                SwiGluKernel.Forward(memory + row * outputs + from, up.Memory + row * block, memory + row * outputs + from, to - from);
        }

        void Add(long from, long to)
        {
            float* added = CpuRows.Pointer(Residual);
            for (long row = 0; row < rows; row++)
                for (long i = row * outputs + from; i < row * outputs + to; i++) memory[i] = added[i] + memory[i];
        }
    }

    static void Block<TElement>(float* x, byte* weight, float* bias, float* y, long rows, long stride, long width, long from, long to)
        where TElement : struct, IElement
    {
        for (long output = from; output < to; output++)
            for (long row = 0; row < rows; row++)
                y[row * stride + output] = (bias == null ? 0 : bias[output])
                    + Dot<TElement>(x + row * width, weight + output * width * TElement.Size, width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static float Dot<TElement>(float* x, byte* w, long width) where TElement : struct, IElement
    {
        Vector256<float> a = default, b = default, c = default, d = default;
        long k = 0;
        for (; k + 32 <= width; k += 32)
        {
            if (Sse.IsSupported)
            {
                Sse.Prefetch0(w + k * TElement.Size + BytesAhead);
                if (TElement.Size == sizeof(float)) Sse.Prefetch0(w + k * TElement.Size + BytesAhead + 64);
            }
            a = Vector256.MultiplyAddEstimate(TElement.Load(w, k), Vector256.Load(x + k), a);
            b = Vector256.MultiplyAddEstimate(TElement.Load(w, k + 8), Vector256.Load(x + k + 8), b);
            c = Vector256.MultiplyAddEstimate(TElement.Load(w, k + 16), Vector256.Load(x + k + 16), c);
            d = Vector256.MultiplyAddEstimate(TElement.Load(w, k + 24), Vector256.Load(x + k + 24), d);
        }
        for (; k + 8 <= width; k += 8) a = Vector256.MultiplyAddEstimate(TElement.Load(w, k), Vector256.Load(x + k), a);
        float sum = Vector256.Sum(a + b + (c + d));
        for (; k < width; k++)
            sum += TElement.Size == sizeof(float) ? ((float*)w)[k] * x[k] : BitConverter.UInt32BitsToSingle((uint)((ushort*)w)[k] << 16) * x[k];
        return sum;
    }
}
