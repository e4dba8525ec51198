using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>Independent pieces of work on as many cores as libtorch itself may use (<c>torch.set_num_threads</c>), and their working memory.</summary>
static unsafe class CpuTasks
{
    const long FewElements = 1 << 15;        // below, waking a thread costs more than it saves

    /// <summary>Runs the tasks; <paramref name="elements"/> is how many elements they handle together.</summary>
    public static void Run(long count, long elements, Action<long> task)
    {
        int degree = elements < FewElements ? 1 : (int)Math.Min(count, Math.Min(get_num_threads(), Environment.ProcessorCount));
        if (degree <= 1)
        {
            for (long i = 0; i < count; i++) task(i);
            return;
        }
        Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = degree }, task);
    }

    /// <summary>Whether working memory and results are filled with NaN first, so that a test sees whatever is read before it is written, or not
    /// written at all.</summary>
    internal static bool Poison { get; set; }

    /// <summary>Working memory of one task, on a cache line's boundary, not cleared.</summary>
    public readonly struct Scratch : IDisposable
    {
        readonly float* memory;

        public Scratch(long floats)
        {
            memory = (float*)NativeMemory.AlignedAlloc((nuint)floats * sizeof(float), 64);
            if (Poison) new Span<float>(memory, checked((int)floats)).Fill(float.NaN);
        }

        public float* Memory => memory;

        public void Dispose() => NativeMemory.AlignedFree(memory);
    }
}
