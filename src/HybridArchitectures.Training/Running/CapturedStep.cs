using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Runs the training steps of a small model as a CUDA graph: forward and backward of all passes, clipping and the update of the parameters. The
/// launches of a small model take the host longer than the GPU.
/// <para>
/// 1. Steps run directly, on the stream of the graph, until all their memory is there.
/// 2. The next step is captured, and launched from then on. Rows, the weights of passes and the learning
/// rate are copied to fixed places on the device before each launch.
/// 3. If something has changed that a graph does not read (<see cref="CaptureConditions"/>), for example because a callback has frozen a parameter,
/// the graph is dropped, and steps begin with 1 again.
/// 4. If the capture fails, steps run directly again, and <see cref="Failure"/> contains the reason.
/// </para>
/// </summary>
sealed class CapturedStep : IDisposable
{
    const long MaxParameters = 300_000_000;
    const int MaxDirectSteps = 8;

    readonly HybridLanguageModel model;
    readonly Optimizer optimizer;
    readonly double clip;
    readonly Tensor ids, targets, loss, norm;
    readonly (long First, long Rows, Tensor Share)[] passes;
    CaptureConditions? conditions;
    CudaGraph? graph;
    bool isReady;
    int directSteps;

    /// <summary>Prepares steps of a fixed shape.</summary>
    /// <param name="model">The model.</param>
    /// <param name="optimizer">The optimizer of its parameters.</param>
    /// <param name="clip">The maximum norm of all gradients together; infinity disables clipping.</param>
    /// <param name="rows">The number of rows of a step.</param>
    /// <param name="rowsPerPass">The number of rows of a pass. The last pass may have fewer.</param>
    /// <param name="length">The number of tokens of a row.</param>
    public CapturedStep(HybridLanguageModel model, Optimizer optimizer, double clip, int rows, int rowsPerPass, int length)
    {
        (this.model, this.optimizer, this.clip) = (model, optimizer, clip);
        using var scope = NewDisposeScope();
        ids = zeros([rows, length], ScalarType.Int64, model.Device).DetachFromDisposeScope();
        targets = zeros([rows, length], ScalarType.Int64, model.Device).DetachFromDisposeScope();
        loss = zeros([], ScalarType.Float32, model.Device).DetachFromDisposeScope();
        norm = zeros([], ScalarType.Float32, model.Device).DetachFromDisposeScope();
        passes = [.. Enumerable.Range(0, (rows + rowsPerPass - 1) / rowsPerPass).Select(pass => ((long)pass * rowsPerPass,
            Math.Min((long)rowsPerPass, rows - (long)pass * rowsPerPass),
            ones([], ScalarType.Float32, model.Device).DetachFromDisposeScope()))];
    }

    /// <summary>Gets the number of kernels, copies and fills of a captured step; 0 before the capture.</summary>
    public long Nodes => graph?.Nodes ?? 0;

    /// <summary>Gets the number of captures.</summary>
    public int Captures { get; private set; }

    /// <summary>Gets why steps are not captured; null if they are, or will be.</summary>
    public string? Failure { get; private set; }

    /// <summary>Returns why the steps of a run cannot be captured, or null if they can.</summary>
    public static string? Refusal(HybridLanguageModel model, TrainingOptions options, TrainingObjective? objective)
    {
        if (!options.CudaGraphs) return $"{nameof(TrainingOptions.CudaGraphs)} is false";
        if (model.Device.type != DeviceType.CUDA) return $"the model is on {model.Device}";
        if (objective is not null) return "the run has an objective";
        if (options.SpikeGuard is not null) return "a spike guard reads every loss";
        if (options.ActivationCheckpointing || model.Stack.ActivationCheckpointing) return "activations are computed again";
        if (model.ComputeType == ScalarType.Float64) return "the model computes in float64";
        if (model.Stack.Observer is not null) return "an observer looks at the stack";
        if (model.Parameters.Sum(item => item.Value.NumberOfElements) > MaxParameters) return "the model is so large that the GPU sets the pace";
        return model.AllModules().Select(Refusal).FirstOrDefault(reason => reason is not null) ?? CudaGraphPool.Refusal();
    }

    static string? Refusal(HybridModule module) => module switch
    {
        LoraWeight => "adapters draw random numbers",
        MixtureOfExperts => "experts are balanced between the steps",
        Mixer when module.GetType().Assembly != typeof(Mixer).Assembly => $"{module.GetType().Name} is a custom mixer",
        _ => null,
    };

    /// <summary>
    /// Returns whether the rows of all passes have the fixed shape, and nothing else than ids and targets, and whether the model permits a captured
    /// step.
    /// </summary>
    public bool Serves(IReadOnlyList<TokenBatch> batches) =>
        Failure is null && CaptureConditions.Exception(model) is null && batches.Count == passes.Length
        && batches.Zip(passes).All(pair => pair.First is { Layout: null, Weights: null, WeightSum: > 0 }
            && pair.First.Ids.size(0) == pair.Second.Rows && pair.First.Ids.size(1) == ids.size(1));

    /// <summary>Makes a step. Returns its loss and the norm of its gradients, float32 scalars that the next step overwrites.</summary>
    public (Tensor Loss, Tensor Norm) Run(IReadOnlyList<TokenBatch> batches, double rate)
    {
        using (no_grad())
        {
            using var scope = NewDisposeScope();
            double counted = batches.Sum(batch => batch.WeightSum);
            foreach (var (batch, (first, rows, share)) in batches.Zip(passes))
            {
                ids.narrow(0, first, rows).copy_(batch.Ids);
                targets.narrow(0, first, rows).copy_(batch.Targets);
                if (passes.Length == 1) continue;
                using var number = (batch.WeightSum / counted).ToScalar();
                share.fill_(number);
                GC.KeepAlive(number);
            }
        }
        optimizer.SetRate(rate);
        Renew();
        var pool = CudaGraphPool.For(model.Device.index);
        if (graph is null && isReady) Capture(pool);
        if (graph is not null) graph.Launch();
        else if (Failure is null)
        {
            isReady = pool.Run(Step);
            if (++directSteps >= MaxDirectSteps && !isReady) Failure = $"the allocator needed new memory in each of {directSteps} steps";
        }
        else Step();
        WeightWrites.Add();
        return (loss, norm);
    }

    // forgets a graph that is no longer a step of the model
    void Renew()
    {
        if (conditions is not null && conditions.Hold()) return;
        graph?.Dispose();
        (graph, isReady, directSteps) = (null, false, 0);
        conditions = new(model);
    }

    void Capture(CudaGraphPool pool)
    {
        // a direct step may have written copies of the weights, which captured steps would read but not write
        WeightCopies.CountWrite();
        try
        {
            graph = pool.Capture(Step);
            Captures++;
        }
        catch (Exception e) when (e is CudaException or InvalidOperationException or System.Runtime.InteropServices.ExternalException)
        {
            // nothing was executed
            optimizer.DropGradients();
            Failure = e.Message;
        }
    }

    void Step()
    {
        using var scope = NewDisposeScope();
        // small models have memory, and launches take much of their time
        using var options = OperatorOptions.Use(OperatorOptions.Current with { RecomputeInputs = false });
        using (no_grad()) loss.zero_();
        foreach (var pass in passes) Pass(pass.First, pass.Rows, passes.Length == 1 ? null : pass.Share);
        using var noGrad = no_grad();
        norm.copy_(optimizer.StepAtRate(null, clip, loss));
    }

    // adds the gradients of a pass, and its share of the loss, as Trainer.ComputeGradients does
    void Pass(long first, long rows, Tensor? share)
    {
        using var scope = NewDisposeScope();
        using var context = new SequenceContext();
        var losses = model.Loss(ids.narrow(0, first, rows), targets.narrow(0, first, rows), context);
        var weight = share?.to(losses.Total.dtype);
        if (weight is null) Autograd.Backward(losses.Total);
        else Autograd.Backward(losses.Total, weight);
        using var noGrad = no_grad();
        var part = losses.CrossEntropy.detach();
        loss.add_((weight is null ? part : part.mul(weight)).to(ScalarType.Float32), Scalars.One);
    }

    public void Dispose()
    {
        graph?.Dispose();
        foreach (var tensor in passes.Select(pass => pass.Share).Concat([ids, targets, loss, norm])) tensor.Dispose();
    }
}
