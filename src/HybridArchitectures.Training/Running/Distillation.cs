using System.Globalization;
using HybridArchitectures.Kernels.Operators;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Trains a model to predict what a teacher predicts (arXiv 1503.02531): (1 - share) x cross entropy + share x T^2 x KL(p || q), where p and q are
/// the distributions of teacher and model at temperature T. The mean is over the targets that count. Auxiliary losses of layers are added.
/// </summary>
/// <remarks>
/// The logits of both models are computed for a part of the targets at a time, and are not stored for the backward pass (
/// <see cref="LinearDistillation"/>). Not supported: a design with a z-loss of the head.
/// </remarks>
public sealed class Distillation : TrainingObjective
{
    readonly Teacher teacher;
    readonly double share, temperature;

    /// <summary>Creates the objective.</summary>
    /// <param name="teacher">The teacher, on the device of the model. The caller disposes it, and must not change it during the run.</param>
    /// <param name="share">The share of the divergence in the loss, above 0 and at most 1. The default is 0.5.</param>
    /// <param name="temperature">The temperature T, above 0. The default is 1.</param>
    public Distillation(HybridLanguageModel teacher, double share = 0.5, double temperature = 1)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        Require.InRange(share is > 0 and <= 1, nameof(share), share, "a share in (0, 1]");
        Require.InRange(temperature > 0 && double.IsFinite(temperature), nameof(temperature), temperature, "a finite number above 0");
        (this.teacher, this.share, this.temperature) = (new Teacher(teacher), share, temperature);
        Description = string.Create(CultureInfo.InvariantCulture,
            $"distillation, share {share:r}, temperature {temperature:r}, teacher {this.teacher.Mark}");
    }

    /// <summary>
    /// Gets share, temperature, and a mark of the teacher's design and weights (a hash of the first 4,096 elements of each tensor).
    /// </summary>
    public override string Description { get; }

    /// <inheritdoc/>
    public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(context);
        Check(model);
        using var scope = NewDisposeScope();
        var targets = batch.Targets.flatten();
        var counted = targets.ne(Scalars.From(TrainingRow.NoTarget)).nonzero().flatten();
        var expected = teacher.Ask(one =>
        {
            using var pass = new SequenceContext(batch.Layout);
            return Counted(one, batch.Ids, pass, counted);
        });
        var hidden = Counted(model, batch.Ids, context, counted);
        var (total, crossEntropy) = LinearDistillation.Forward(hidden, model.HeadForLoss(hidden), expected, teacher.Model.HeadForLoss(expected),
            targets.index_select(0, counted), share, temperature, logitScale: model.Design.LogitScale,
            teacherLogitScale: teacher.Model.Design.LogitScale, tokenWeights: batch.Weights?.flatten().index_select(0, counted),
            logitCap: model.Design.LogitCap, teacherLogitCap: teacher.Model.Design.LogitCap);
        foreach (var loss in context.AuxiliaryLosses) total = total.add(loss, Scalars.One);
        return new ModelLoss(total.MoveToOuterDisposeScope(), crossEntropy.MoveToOuterDisposeScope());
    }

    void Check(HybridLanguageModel model)
    {
        if (ReferenceEquals(teacher.Model, model))
            throw Require.Unfit("teacher", "teacher is the model that is trained", "another model");
        if (teacher.Model.VocabularySize != model.VocabularySize)
            throw Require.Unfit("teacher", $"teacher has a vocabulary size of {teacher.Model.VocabularySize}",
                $"{model.VocabularySize}, that of the model");
        teacher.RequireDeviceOf(model);
        if (model.Design.HeadZLoss > 0)
            throw new NotSupportedException($"the design has a z-loss of the head of {model.Design.HeadZLoss}; expected 0 for distillation.");
    }

    // the hidden vectors of the targets that count, (targets, width)
    static Tensor Counted(HybridLanguageModel model, Tensor ids, SequenceContext context, Tensor counted)
    {
        using var scope = NewDisposeScope();
        return model.Hidden(ids, context).reshape(-1, model.Design.Width).index_select(0, counted).MoveToOuterDisposeScope();
    }
}
