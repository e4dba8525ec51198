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
        using var scope = NewDisposeScope();
        var x = all[0].X;
        var wholeX = CpuRows.Whole(x)!;
        var products = new Product[all.Length];
        long tasks = 0, elements = 0;
        for (int i = 0; i < all.Length; i++)
        {
            products[i] = new Product(all[i], wholeX, tasks);
            tasks += products[i].Tasks;
            elements += products[i].Elements;
        }
        CpuTasks.Run(tasks, elements / ElementsPerTask, task =>
        {
            int at = products.Length - 1;
            while (products[at].FirstTask > task) at--;
            products[at].Run(task - products[at].FirstTask);
        });
        GC.KeepAlive((wholeX, products));
        return Array.ConvertAll(products, product => CpuRows.As(product.Result, x).MoveToOuterDisposeScope());
    }

    // one weight, whose rows are divided into tasks
    sealed class Product
    {
        readonly Tensor weight;
        readonly Tensor? bias;
        readonly float* x, biasMemory, result;
        readonly byte* weightMemory;
        readonly long rows, outputs, width, block;

        public Product(FewRowsLinearInputs inputs, Tensor wholeX, long firstTask)
        {
            (weight, bias, FirstTask) = (inputs.Weight, CpuRows.Whole(inputs.Bias), firstTask);
            if (!weight.is_contiguous()) weight = weight.contiguous();
            (outputs, width) = (weight.size(0), weight.size(1));
            rows = wholeX.NumberOfElements / width;
            block = Math.Max(1, BlockElements / Math.Max(1, width));
            Span<long> sizes = stackalloc long[(int)wholeX.dim()];
            for (int i = 0; i < sizes.Length; i++) sizes[i] = i == sizes.Length - 1 ? outputs : wholeX.size(i);
            Result = CpuRows.New(ScalarType.Float32, sizes);
            x = CpuRows.Pointer(wholeX);
            biasMemory = CpuRows.Pointer(bias);
            result = CpuRows.Pointer(Result);
            weightMemory = (byte*)TensorMemory.Pointer(weight);
        }

        /// <summary>Gets the number of the first task among those of all products.</summary>
        public long FirstTask { get; }

        public long Tasks => (outputs + block - 1) / block;

        public long Elements => outputs * width;

        public Tensor Result { get; }

        public void Run(long task)
        {
            long from = task * block, to = Math.Min(outputs, from + block);
            if (weight.dtype == ScalarType.BFloat16) Block<BFloat16Element>(x, weightMemory, biasMemory, result, rows, outputs, width, from, to);
            else Block<Float32Element>(x, weightMemory, biasMemory, result, rows, outputs, width, from, to);
        }
    }

    static void Block<TElement>(float* x, byte* weight, float* bias, float* y, long rows, long outputs, long width, long from, long to)
        where TElement : struct, IElement
    {
        for (long output = from; output < to; output++)
            for (long row = 0; row < rows; row++)
                y[row * outputs + output] = (bias == null ? 0 : bias[output])
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
