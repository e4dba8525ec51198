using System.Text.Json;
using System.Text.Json.Nodes;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Benchmarks.Gpu;

/// <summary>
/// Represents a JSON file of figures: an object with one list per kind of measurement. Several commands can write to one file. A command keeps the
/// kinds that it does not measure. The file is written after each figure, so that an interrupted run loses nothing.
/// </summary>
sealed class FigureFile
{
    static readonly JsonSerializerOptions Indented = new(GpuOps.Json)
    {
        WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
    };

    readonly string? path;
    readonly JsonObject all;
    readonly HashSet<string> begun = [];

    /// <summary>Reads the file if it exists.</summary>
    /// <param name="path">The file. Null means that nothing is written.</param>
    /// <param name="device">The device of the figures.</param>
    public FigureFile(string? path, Device device)
    {
        this.path = path is null ? null : Path.GetFullPath(path);
        all = this.path is not null && File.Exists(this.path) ? JsonNode.Parse(File.ReadAllText(this.path))!.AsObject() : [];
        all["device"] = device.type == DeviceType.CUDA ? CudaGraphDriver.DeviceName(Math.Max(0, device.index)) : "cpu";
    }

    /// <summary>Adds a figure. The first one of a kind replaces those of an earlier run.</summary>
    /// <param name="kind">The kind of the measurement.</param>
    /// <param name="figure">An object whose properties are numbers and text.</param>
    public void Add(string kind, object figure)
    {
        if (path is null) return;
        if (begun.Add(kind)) all[kind] = new JsonArray();
        all[kind]!.AsArray().Add(JsonSerializer.SerializeToNode(figure, Indented));
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path + ".new", all.ToJsonString(Indented) + "\n");
        File.Move(path + ".new", path, overwrite: true);
    }
}
