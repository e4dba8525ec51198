using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>A tensor of a model, or one expert's slice of it.</summary>
/// <param name="Name">Its name in <see cref="Models.HybridLanguageModel.State"/>.</param>
/// <param name="Expert">The slice along the first dimension; null for all.</param>
sealed record TensorPart(string Name, int? Expert = null)
{
    public Tensor Select(IReadOnlyDictionary<string, Tensor> state) => Expert is { } expert ? state[Name].select(0, expert) : state[Name];
}
