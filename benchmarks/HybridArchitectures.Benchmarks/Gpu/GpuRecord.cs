using System.Text.Json.Serialization;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>Contains the measurements of one case. Times are medians in milliseconds.</summary>
sealed record GpuRecord
{
    [JsonPropertyName("op")]
    public required string Op { get; init; }

    [JsonPropertyName("shape")]
    public required string Shape { get; init; }

    [JsonPropertyName("dtype")]
    public required string Type { get; init; }

    /// <summary>Gets the time of a forward call without gradients, in milliseconds.</summary>
    [JsonPropertyName("forward_ms")]
    public required double ForwardMs { get; init; }

    /// <summary>
    /// Gets the time of a forward call in a CUDA graph of 20 calls, each of which begins after the previous one, in milliseconds. Null means that it
    /// was not measured.
    /// </summary>
    [JsonPropertyName("graph_ms")]
    public double? GraphMs { get; init; }

    /// <summary>Gets the same time if a call may begin before the end of the previous one, as in generation.</summary>
    [JsonPropertyName("overlapping_graph_ms")]
    public double? OverlappingGraphMs { get; init; }

    /// <summary>Gets the time of forward and backward to every input, in milliseconds. Null means that there is no backward.</summary>
    [JsonPropertyName("total_ms")]
    public double? TotalMs { get; init; }

    /// <summary>Gets the minimum time of the GPU forward.</summary>
    [JsonPropertyName("limit_ms")]
    public required double LimitMs { get; init; }

    /// <summary>Gets the time of the fastest rival in Python, forwards.</summary>
    [JsonPropertyName("anchor_ms")]
    public double? AnchorMs { get; init; }

    /// <summary>
    /// Gets the peak device memory of forward and backward without inputs, result and gradients; for an operator without backward, without inputs and
    /// result.
    /// </summary>
    [JsonPropertyName("peak_bytes")]
    public long? PeakBytes { get; init; }

    [JsonPropertyName("limit_total_ms")]
    public double? LimitTotalMs { get; init; }

    [JsonPropertyName("anchor_total_ms")]
    public double? AnchorTotalMs { get; init; }

    /// <summary>Gets the name of the rival.</summary>
    [JsonPropertyName("anchor")]
    public string? Anchor { get; init; }

    /// <summary>Gets the kind of device: cuda or cpu.</summary>
    [JsonPropertyName("device")]
    public required string Device { get; init; }

    /// <summary>Gets the name of the GPU.</summary>
    [JsonPropertyName("gpu")]
    public string? DeviceName { get; init; }

    /// <summary>Gets the bytes per second, read and written, of a copy on the GPU in the same run. The limits depend on it.</summary>
    [JsonPropertyName("copy_bytes_per_second")]
    public double? BytesPerSecond { get; init; }

    public bool IsOf(string op, string shape, string type) => Op == op && Shape == shape && Type == type;
}
