using System.Diagnostics;
using HybridArchitectures.Training.Running;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Times the steps of a run after some warm-up steps, and then records the kernels of further steps.</summary>
/// <param name="timed">The number of timed steps.</param>
/// <param name="isCuda">Whether the model is on a GPU.</param>
sealed class TrainingStepMeter(int timed, bool isCuda) : TrainingCallback
{
    const int WarmSteps = 3, TracedSteps = 2;

    readonly Stopwatch watch = new();
    readonly double[] host = new double[timed];
    bool traces;
    TimeSpan latest;

    /// <summary>Gets the number of steps of the run.</summary>
    public int Steps => WarmSteps + timed + TracedSteps;

    /// <summary>Gets the mean time of a step in milliseconds.</summary>
    public double Milliseconds { get; private set; }

    /// <summary>Gets the kernels of the traced steps; null without CUPTI.</summary>
    public IReadOnlyList<KernelTrace.Entry>? Kernels { get; private set; }

    /// <summary>Gets the minimum time that the host needed for a step, in milliseconds. It waits for the GPU if the GPU is slower.</summary>
    public double HostMilliseconds => host.Min();

    /// <summary>Returns a number of all traced steps as that of one step.</summary>
    public static double PerStep(double value) => value / TracedSteps;

    public override void OnStep(TrainingStep step)
    {
        long number = step.Step;
        if (number > WarmSteps && number <= WarmSteps + timed)
        {
            host[number - WarmSteps - 1] = (watch.Elapsed - latest).TotalMilliseconds;
            latest = watch.Elapsed;
        }
        if (number == WarmSteps)
        {
            Wait();
            watch.Start();
        }
        else if (number == WarmSteps + timed)
        {
            Wait();
            Milliseconds = watch.Elapsed.TotalMilliseconds / timed;
            traces = isCuda && KernelTrace.Start();
        }
        else if (number == Steps && traces)
        {
            Wait();
            Kernels = KernelTrace.Stop();
        }
    }

    void Wait()
    {
        if (isCuda) cuda.synchronize();
    }
}
