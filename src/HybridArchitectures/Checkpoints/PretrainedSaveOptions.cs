using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Contains the options of <see cref="PretrainedModel.Save"/>.</summary>
public sealed record PretrainedSaveOptions
{
    /// <summary>Gets or sets the dtype of the weights: float32 (the default), bfloat16 or float16.</summary>
    public ScalarType Type { get; init => field = Require.Defined(value, nameof(Type)); } = ScalarType.Float32;

    /// <summary>
    /// Gets or sets the maximum size of a file in bytes. Further weights are written to other files with an index. The default is 5 GB.
    /// </summary>
    public long ShardBytes { get; init; } = 5_000_000_000;

    /// <summary>
    /// Gets or sets the head of multi-token prediction that is written with the model, in a family that has such heads: Qwen3.5 or Nemotron-H. The
    /// default, null, writes none, and the written configuration announces none.
    /// </summary>
    public PredictionHead? PredictionHead { get; init; }

    /// <summary>
    /// Gets or sets a configuration from which other settings (token ids, context length) are copied. The default, null, means none.
    /// </summary>
    public PretrainedConfig? SettingsFrom { get; init; }
}
