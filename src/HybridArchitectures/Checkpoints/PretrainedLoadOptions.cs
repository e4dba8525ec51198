using HybridArchitectures.Design;

namespace HybridArchitectures.Checkpoints;

/// <summary>Options of <see cref="PretrainedModel.Load"/> and <see cref="PretrainedModel.LoadDesign"/>.</summary>
public sealed record PretrainedLoadOptions
{
    /// <summary>
    /// Gets or sets whose reading of the configuration counts where transformers differs from the code that trained the published models.
    /// The default value is <see cref="PretrainedSemantics.AsTrained"/>. Use <see cref="PretrainedSemantics.Transformers"/> to reproduce the numbers
    /// of that library.
    /// </summary>
    public PretrainedSemantics Semantics { get; init; }

    /// <summary>
    /// Gets or sets the names of top-level settings of <c>config.json</c> that are ignored although the library does not know them.
    /// The default value is an empty list: an unknown setting is refused, because it may change what the model computes.
    /// </summary>
    public EquatableList<string> IgnoredKeys { get; init; } = [];
}
