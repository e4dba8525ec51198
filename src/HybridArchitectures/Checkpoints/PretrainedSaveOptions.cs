using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>How <see cref="PretrainedModel.Save"/> writes.</summary>
public sealed record PretrainedSaveOptions
{
    /// <summary>Element type of the weights: float32, bfloat16 or float16.</summary>
    public ScalarType Type { get; init; } = ScalarType.Float32;

    /// <summary>Weights beyond this many bytes go into another file, and an index tells which is where.</summary>
    public long ShardBytes { get; init; } = 5_000_000_000;

    /// <summary>A configuration whose other keys (token ids, context length and so on) are kept; null for none.</summary>
    public PretrainedConfig? SettingsFrom { get; init; }
}
