using System.Globalization;
using System.Runtime.InteropServices;
using HybridArchitectures.Cost;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using TorchSharp;

namespace HybridArchitectures.Training.Running;

/// <summary>Explains a step that did not fit the memory of its device.</summary>
static class MemoryShortage
{
    // of the GPU's allocator and driver, and of libtorch's allocator in main memory
    static readonly string[] Texts = ["out of memory", "can't allocate memory", "not enough memory"];

    /// <summary>Returns whether an exception means that memory was short.</summary>
    public static bool IsCause(Exception error) =>
        error is OutOfMemoryException or ExternalException or CudaException or InvalidOperationException
        && (error is OutOfMemoryException || Texts.Any(text => error.Message.Contains(text, StringComparison.OrdinalIgnoreCase)));

    /// <summary>Creates the exception, which contains the estimate of the cost model and what would need less.</summary>
    public static InsufficientMemoryException Explain(HybridLanguageModel model, TrainingOptions options, int rows, Exception cause)
    {
        var cost = new DesignCost(model.Design, options.ContextLength);
        int size = model.ComputeType switch { torch.ScalarType.Float64 => 8, torch.ScalarType.Float32 => 4, _ => 2 };
        bool checkpointing = options.ActivationCheckpointing || model.Stack.ActivationCheckpointing;
        int saved = options.ActivationCheckpointing ? options.SavedBlocks ?? 0 : model.Stack.SavedBlocks;
        TrainingMemory Estimate(long count, bool recomputes, int? saving = null)
        {
            var memory = cost.TrainingMemory(count, size, recomputes, model.Device.type, recomputes ? saving ?? saved : 0);
            return count < options.BatchSize ? memory.WithSummedGradients() : memory;
        }
        var less = new List<string>();
        if (rows > 1)
            less.Add($"{nameof(TrainingOptions.MicroBatchSize)} = {rows / 2} ({Units.Bytes(Estimate(rows / 2, checkpointing).Total)})");
        if (!checkpointing) less.Add($"{nameof(TrainingOptions.ActivationCheckpointing)} = true ({Units.Bytes(Estimate(rows, true).Total)})");
        else if (saved > 0) less.Add($"{nameof(TrainingOptions.SavedBlocks)} = 0 ({Units.Bytes(Estimate(rows, true, 0).Total)})");
        less.Add($"a shorter {nameof(TrainingOptions.ContextLength)}");
        if (model.ComputeType == torch.ScalarType.Float32) less.Add("bfloat16 activations");
        return new InsufficientMemoryException(string.Create(CultureInfo.InvariantCulture,
            $"a pass over {rows} rows of {options.ContextLength} tokens does not fit the memory of {model.Device}{Capacity(model)}. The estimate is "
            + $"{Estimate(rows, checkpointing)}. What needs less: {string.Join(", ", less)}."), cause);
    }

    static string Capacity(HybridLanguageModel model)
    {
        if (model.Device.type != DeviceType.CUDA) return "";
        var (free, total) = CudaGraphDriver.Memory(Math.Max(0, model.Device.index));
        return $" ({Units.Bytes(total)}, of which {Units.Bytes(free)} are free)";
    }
}
