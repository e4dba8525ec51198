using System.Globalization;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Trains a model together with a head of multi-token prediction (arXiv 2412.19437, section 2.2): the loss of the model plus weight x
/// <see cref="PredictionHead.Loss"/>.
/// </summary>
/// <remarks>
/// <para>
/// The optimizer of the run updates the head too. Embedding and head of the model receive gradients from both losses, and so do its blocks, through
/// the hidden vectors. To train the head alone, for example after fine-tuning, set <c>requires_grad</c> of all parameters of the model to false
/// before the trainer is created. <see cref="Trainer.Resume"/> restores which parameters are frozen.
/// </para>
/// <para>
/// Checkpoints of the run contain the head, and <see cref="Checkpoints.Checkpoint.LoadPredictionHead"/> reads it.
/// <see cref="Trainer.Resume"/> needs an objective with a head of the same design, whose weights it replaces. Not supported: several ranks; steps
/// captured as CUDA graphs, so steps of small models on a GPU run directly.
/// </para>
/// </remarks>
/// <example>
/// <code>
/// using var data = TokenDataset.FromTokens(Enumerable.Range(0, 20_000).Select(i => i * i % 251).ToArray(), 256);
/// using var model = HybridDesign.Create(width: 32, vocabularySize: 256).WithMamba2(stateSize: 8, headSize: 8)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(64)).Depth(2).Build().CreateModel(seed: 0);
/// using var head = PredictionHead.Create(model, seed: 1);
/// var options = new TrainingOptions { LearningRate = 3e-3, ContextLength = 64, BatchSize = 4, Duration = Duration.Steps(10) };
/// using var trainer = new Trainer(model, data, options, callbacks: [new MultiTokenPrediction(head)]);
/// trainer.Run();
/// </code>
/// </example>
public sealed class MultiTokenPrediction : TrainingObjective
{
    readonly double weight;

    /// <summary>Creates the objective.</summary>
    /// <param name="head">The head, with the types of the model and on its device. The caller disposes it.</param>
    /// <param name="weight">
    /// The weight of the loss of the head, above 0. The default is 0.3, as in Nemotron 3 and in the first 10 trillion tokens of DeepSeek-V3, which
    /// used 0.1 for the others (arXiv 2412.19437, section 4.2).
    /// </param>
    public MultiTokenPrediction(PredictionHead head, double weight = 0.3)
    {
        ArgumentNullException.ThrowIfNull(head);
        Require.InRange(weight > 0 && double.IsFinite(weight), nameof(weight), weight, "a finite number above 0");
        (Head, this.weight) = (head, weight);
    }

    /// <summary>Gets the head that is trained.</summary>
    public PredictionHead Head { get; }

    /// <inheritdoc/>
    public override string Description => string.Create(CultureInfo.InvariantCulture, $"multi-token prediction, weight {weight:r}");

    internal override PredictionHead? TrainedHead => Head;

    /// <inheritdoc/>
    public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(context);
        using var scope = NewDisposeScope();
        var hidden = model.Hidden(batch.Ids, context);
        var (total, crossEntropy) = model.LossOf(hidden, batch.Targets, context, batch.Weights);
        bool before = Head.Stack.ActivationCheckpointing;
        try
        {
            Head.Stack.ActivationCheckpointing |= model.Stack.ActivationCheckpointing;
            var further = Head.Loss(model, hidden, batch.Ids, batch.Targets, batch.Layout, batch.Weights);
            total = total.add(further.mul(Scalars.From(weight)), Scalars.One);
        }
        finally
        {
            Head.Stack.ActivationCheckpointing = before;
        }
        return new ModelLoss(total.MoveToOuterDisposeScope(), crossEntropy.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public override void OnStep(TrainingStep step) => Head.AfterStep();
}
