using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Runs independent tasks on the threads of libtorch (their number is set by <c>torch.set_num_threads</c>), and provides their working memory.
/// Threads of a separate pool would have to be woken for every operator, while libtorch's threads, which spin while they wait, would occupy the
/// cores.
/// </summary>
static unsafe class CpuTasks
{
    const long FewElements = 1 << 15;        // with fewer elements, passing work to another thread costs more than it saves

    /// <summary>Runs the tasks. <paramref name="elements"/> is the total number of elements that they process.</summary>
    public static void Run(long count, long elements, Action<long> task)
    {
        int degree = elements < FewElements ? 1 : (int)Math.Min(count, get_num_threads());
        if (degree <= 1)
        {
            for (long i = 0; i < count; i++) task(i);
            return;
        }
        // libtorch's threads do not get the options of this one
        var options = OperatorOptions.Current;
        if (options.NewMemoryFill is not null) task = WithOptions(task, options);
        var shared = new Shared(count, task);
        using var handle = new GCHandle<Shared>(shared);
        if (LibTorch.torch_parallel_for(0, degree, 1, &Enter, GCHandle<Shared>.ToIntPtr(handle)) != 0)
            throw new InvalidOperationException("libtorch could not start its threads");
        shared.Error?.Throw();
    }

    static Action<long> WithOptions(Action<long> task, OperatorOptions options) => index =>
    {
        using var scope = OperatorOptions.Use(options);
        task(index);
    };

    [UnmanagedCallersOnly]
    static void Enter(long begin, long end, nint shared) => GCHandle<Shared>.FromIntPtr(shared).Target.Work();

    // every thread takes the next task until none is left, so a thread that is delayed does less
    sealed class Shared(long count, Action<long> task)
    {
        long next;

        public ExceptionDispatchInfo? Error { get; private set; }

        public void Work()
        {
            try
            {
                for (long i; (i = Interlocked.Increment(ref next) - 1) < count;) task(i);
            }
            catch (Exception e)         // no exception may reach the frames of libtorch
            {
                Error = ExceptionDispatchInfo.Capture(e);
                Volatile.Write(ref next, count);
            }
        }
    }

    /// <summary>Calls <paramref name="body"/> with ranges [from, to) that cover all rows.</summary>
    public static void Share(long rows, long elementsPerRow, Action<long, long> body)
    {
        long elements = rows * elementsPerRow, parts =
            Math.Min(rows, elements < FewElements ? 1 : Math.Min(get_num_threads(), 2 * elements / FewElements));
        if (parts <= 1)
        {
            if (rows > 0) body(0, rows);
        }
        else Run(parts, elements, part => body(rows * part / parts, rows * (part + 1) / parts));
    }

    /// <summary>
    /// Calls <paramref name="body"/> with (block, from, to). The division into blocks does not depend on the number of threads, so sums over blocks
    /// do not either.
    /// </summary>
    public static void ShareBlocks(long rows, long elementsPerRow, long blocks, Action<long, long, long> body) =>
        Run(blocks, rows * elementsPerRow, block => body(block, rows * block / blocks, rows * (block + 1) / blocks));

    /// <summary>Returns the number of blocks for rows whose sum is computed.</summary>
    public static long Blocks(long rows) => Math.Clamp(rows / 64, 1, 16);

    /// <summary>Provides the working memory of one task, aligned to a cache line and not cleared.</summary>
    public readonly struct Scratch : IDisposable
    {
        readonly float* memory;

        public Scratch(long floats)
        {
            memory = (float*)NativeMemory.AlignedAlloc((nuint)floats * sizeof(float), 64);
            if (OperatorOptions.Current.NewMemoryFill is { } fill) new Span<float>(memory, checked((int)floats)).Fill(fill);
        }

        public float* Memory => memory;

        public void Dispose() => NativeMemory.AlignedFree(memory);
    }
}
