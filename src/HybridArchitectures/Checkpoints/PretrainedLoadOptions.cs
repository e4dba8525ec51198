using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Contains the options of <see cref="PretrainedModel.Load"/> and <see cref="PretrainedModel.LoadDesign"/>.</summary>
public sealed record PretrainedLoadOptions
{
    /// <summary>
    /// Gets or sets how the configuration is interpreted if transformers differs from the code that trained the published models. The default is
    /// <see cref="PretrainedSemantics.AsTrained"/>. Use <see cref="PretrainedSemantics.Transformers"/> to reproduce the numbers of transformers.
    /// </summary>
    public PretrainedSemantics Semantics { get; init => field = Require.Defined(value, nameof(Semantics)); }

    /// <summary>
    /// Gets or sets the names of unknown top-level settings of <c>config.json</c> that are ignored. The default is empty: an unknown setting is
    /// refused, because it may change the result of the model.
    /// </summary>
    public EquatableList<string> IgnoredKeys { get; init; } = [];

    /// <summary>
    /// Gets or sets whether the folder must contain a head of multi-token prediction that <see cref="PretrainedModel.LoadPredictionHead"/> can load.
    /// The default is false: heads are left out, with a note. If true, <see cref="PretrainedModel.Load"/> throws a
    /// <see cref="NotSupportedException"/> that names their tensors if it cannot be loaded, so that a program that depends on it does not run without
    /// it. There is no note of the head then.
    /// </summary>
    public bool MultiTokenPrediction { get; init; }

    /// <summary>
    /// Gets or sets a receiver of notes about parts of a checkpoint that are not loaded, for example the tensors of a vision model. The default is
    /// null.
    /// </summary>
    public IProgress<string>? Notes { get; init; }
}
