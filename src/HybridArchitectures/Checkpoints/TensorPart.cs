using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Describes a tensor of a model, or the slice of one expert.</summary>
/// <param name="Name">The name in <see cref="Models.HybridLanguageModel.State"/>.</param>
/// <param name="Expert">The index along the first dimension. The default, null, means the whole tensor.</param>
sealed record TensorPart(string Name, int? Expert = null)
{
    public Tensor Select(IReadOnlyDictionary<string, Tensor> state) => Expert is { } expert ? state[Name].select(0, expert) : state[Name];
}
