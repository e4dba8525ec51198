using System.Diagnostics;
using HybridArchitectures.Cost;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <content>One step: rows, forward and backward passes, and the update of the parameters.</content>
public sealed partial class Trainer
{
    double CurrentRate()
    {
        double[] progress = Options.TotalSteps is null ? ranks.FromFirst(ProgressShare, StepShare) : [ProgressShare, StepShare];
        return Options.LearningRate * Options.Schedule.Factor(progress[0], progress[1]);
    }

    (double Rate, Tensor Norm) RunStep()
    {
        double rate = CurrentRate();
        var position = reader.Position;
        using var scope = NewDisposeScope();
        var batches = new List<TokenBatch>();
        bool stepped = false;
        try
        {
            ReadBatches(batches);
            var (loss, norm, skipped) = ComputeAndUpdate(batches, position, rate);
            stepped = true;
            if (!skipped) recentPositions.Enqueue(position);
            AfterStep(skipped);
            if (!skipped)
            {
                pendingLoss.add_(loss, Scalars.One);
                pendingSteps++;
            }
            Step++;
            NotifyCallbacks(rate, loss, norm, batches);
            return (rate, norm.DetachFromDisposeScope());
        }
        catch (Exception e) when (!stepped)
        {
            // a failed backward pass leaves some gradients, which must not affect a later step
            optimizer.DropGradients();
            exchange?.DropGradients();
            reader.Position = position;
            if (MemoryShortage.IsCause(e)) throw MemoryShortage.Explain(Model, Options, Math.Min(Options.RowsPerPass, OwnRows.Count), e);
            throw;
        }
        finally
        {
            foreach (var batch in batches) batch.Dispose();
        }
    }

    // forward, backward, and the update of the parameters unless the step is skipped
    (Tensor Loss, Tensor Norm, bool Skipped) ComputeAndUpdate(List<TokenBatch> batches, DataPosition position, double rate)
    {
        if (captured is not null && captured.Serves(batches))
        {
            var (fixedLoss, fixedNorm) = captured.Run(batches, rate);
            return (fixedLoss, fixedNorm.alias(), false);
        }
        var loss = CombineRanks(ForwardBackward(batches, position), batches);
        bool skipped = Options.SpikeGuard is { } guard && IsSpike(guard, loss, position, batches);
        var norm = skipped ? tensor((float)optimizer.ReadGradientNorm(), device: Model.Device)
            : optimizer.Step(rate, Options.ClipNorm ?? double.PositiveInfinity, loss);
        if (skipped) optimizer.DropGradients();
        return (loss, norm, skipped);
    }

    void NotifyCallbacks(double rate, Tensor loss, Tensor norm, List<TokenBatch> batches)
    {
        if (callbacks.Length == 0) return;
        var step = new TrainingStep(this, Step, rate, loss, norm, batches);
        foreach (var callback in callbacks) callback.OnStep(step);
    }

    // adds the gradients of all passes of a step, and returns its loss
    Tensor ForwardBackward(List<TokenBatch> batches, DataPosition position)
    {
        // on several ranks, the sum over all ranks is known on the device alone
        double counted = ranks.IsAlone ? batches.Sum(batch => batch.WeightSum) : ExpectedWeight;
        if (counted == 0) throw NoTargets(position);
        var loss = zeros([], ScalarType.Float32, Model.Device);
        int passes = exchange is { PassesTogether: true } ? PassesOfAllRanks : batches.FindLastIndex(batch => batch.WeightSum > 0) + 1;
        for (int i = 0; i < passes; i++)
        {
            bool isLast = i == passes - 1;
            if (i < batches.Count && batches[i].WeightSum > 0)
            {
                // gradients of several passes or ranks are summed in float32
                using var collecting = passes == 1 && exchange is null ? CollectGradients() : null;
                loss.add_(RunPass(batches[i], batches[i].WeightSum / counted, isLast), Scalars.One);
            }
            else exchange?.IdlePass(hasBackward: true, isLast);
        }
        return loss;
    }

    IDisposable CollectGradients()
    {
        var collected = optimizer.Own.Collected;
        // on the CPU, norm and optimizer would each cast them
        collected.KeepsNarrow = Model.Device.type == DeviceType.CUDA;
        return OperatorOptions.Use(OperatorOptions.Current with { Gradients = collected });
    }

    // the rank with the most rows has the most passes
    int PassesOfAllRanks => ((Options.BatchSize + ranks.Size - 1) / ranks.Size + Options.RowsPerPass - 1) / Options.RowsPerPass;

    Tensor RunPass(TokenBatch batch, double share, bool isLast)
    {
        exchange?.BeginPass(isLast);
        var loss = ComputeGradients(batch, share);
        exchange?.EndPass();
        return loss;
    }

    // the last blocks that save their activations with checkpointing, if the options do not say: gradients must not exist before the backward pass,
    // and the estimate must know all that is in memory
    int CountFreeBlocks()
    {
        if (!Options.ActivationCheckpointing || !ranks.IsAlone || objective is not null || Options.RowsPerPass < Options.BatchSize) return 0;
        if (Model.Device.type is not (DeviceType.CPU or DeviceType.CUDA)) return 0;
        if (!Model.AllParameters().All(parameter => parameter.Value.requires_grad)) return 0;
        return TrainingMemory.CountFreeBlocks(Model.Design, Options.ContextLength, Options.BatchSize, (int)Model.ComputeType.ElementSize(),
            Model.Device.type);
    }

    InvalidDataException NoTargets(DataPosition position) => new(
        $"the {Options.BatchSize} rows from epoch {position.Epoch}, row {position.Index} contain no target that counts: "
        + "every document has one token, or every weight is 0");

    void ReadBatches(List<TokenBatch> batches)
    {
        long began = Stopwatch.GetTimestamp();
        var (first, count) = OwnRows;
        if (first > 0) reader.Skip(first);
        for (int rows = 0; rows < count; rows += Options.RowsPerPass)
            batches.Add(reader.ReadBatch(Math.Min(Options.RowsPerPass, count - rows), Model.Device));
        if (first + count < Options.BatchSize) reader.Skip(Options.BatchSize - first - count);
        meter.AddReading(Stopwatch.GetElapsedTime(began));
    }

    // the loss is a mean over targets; weighted by its share of the targets of the step, the sum over passes is the mean over the step
    Tensor ComputeGradients(TokenBatch batch, double share)
    {
        using var scope = NewDisposeScope();
        using var context = new SequenceContext(batch.Layout);
        var stack = Model.Stack;
        var before = (stack.ActivationCheckpointing, stack.SavedBlocks);
        ModelLoss loss;
        try
        {
            if (Options.ActivationCheckpointing) (stack.ActivationCheckpointing, stack.SavedBlocks) = (true, savedBlocks);
            loss = objective is null ? Model.Loss(batch.Ids, batch.Targets, context, batch.Weights) : objective.Compute(Model, batch, context);
        }
        finally
        {
            (stack.ActivationCheckpointing, stack.SavedBlocks) = before;
        }
        if (share == 1)
        {
            Autograd.Backward(loss.Total);
            return loss.CrossEntropy.detach().to(ScalarType.Float32, copy: true).MoveToOuterDisposeScope();
        }
        // filled on the device: a copy from the host would wait for it
        using var number = share.ToScalar();
        var weight = full([], number, loss.Total.dtype, Model.Device);
        GC.KeepAlive(number);
        Autograd.Backward(loss.Total, weight);
        return loss.CrossEntropy.detach().mul(weight).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }
}
