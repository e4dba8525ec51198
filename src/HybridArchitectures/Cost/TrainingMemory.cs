using HybridArchitectures.Design;
using TorchSharp;

namespace HybridArchitectures.Cost;

/// <summary>
/// Bytes that training with AdamW holds at the end of a forward pass, with the gradients of an earlier pass of the same step, if there is one, still there. Parameters, gradients and
/// optimizer are exact (float32, two moments). Activations are an estimate: what the layers must keep for their backward pass, each tensor once. Working space of kernels and
/// what an allocator keeps in reserve come on top.
/// </summary>
/// <param name="Parameters">4 bytes each.</param>
/// <param name="Gradients">4 bytes each.</param>
/// <param name="Optimizer">8 bytes a parameter.</param>
/// <param name="WeightCopies">Weights in the type of the activations, where that is not float32: kept from a product to its backward pass.</param>
/// <param name="Loss">What the loss keeps from its forward to its backward pass: in main memory the gradients of the head and of the last norm's output, on CUDA a part of the logits
/// (<see cref="Kernels.LinearCrossEntropy.LogitsShare"/>) and the head in the type of the activations.</param>
/// <param name="Activations">The estimate.</param>
public sealed record TrainingMemory(long Parameters, long Gradients, long Optimizer, long WeightCopies, long Loss, long Activations)
{
    /// <summary>All bytes.</summary>
    public long Total => Parameters + Gradients + Optimizer + WeightCopies + Loss + Activations;

    /// <summary>Total and parts, each in the unit that fits its size.</summary>
    public override string ToString() =>
        $"{Units.Bytes(Total)} (parameters {Units.Bytes(Parameters)}, gradients {Units.Bytes(Gradients)}, optimizer {Units.Bytes(Optimizer)}, "
        + $"weight copies {Units.Bytes(WeightCopies)}, loss {Units.Bytes(Loss)}, activations {Units.Bytes(Activations)})";

    /// <summary>For one batch of texts.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="length">Tokens of a row.</param>
    /// <param name="batch">Rows.</param>
    /// <param name="elementSize">Bytes of an activation: 2 for bfloat16, 4 for float32.</param>
    /// <param name="checkpointing">Blocks keep only their input and are computed again in the backward pass, one at a time.</param>
    /// <param name="device">CUDA (a card of compute capability 9.0) or CPU: scans keep their states at other tokens.</param>
    /// <exception cref="ArgumentException">A number is out of range, or no model can be made of the design.</exception>
    public static TrainingMemory FromDesign(HybridDesign design, long length, long batch = 1, int elementSize = 2, bool checkpointing = false, DeviceType device = DeviceType.CUDA)
    {
        Require.AtLeast(length, 1, nameof(length));
        Require.AtLeast(batch, 1, nameof(batch));
        Require.That(elementSize is 2 or 4 or 8, nameof(elementSize), elementSize, "2, 4 or 8 bytes");
        Require.That(device is DeviceType.CPU or DeviceType.CUDA, nameof(device), device, "CPU or CUDA");
        var count = ParameterCount.FromDesign(design);
        double tokens = (double)length * batch, input = (double)design.Width * elementSize;
        var kept = new SavedActivations(elementSize, length, batch, device == DeviceType.CUDA);
        var blocks = design.Blocks.Select(block => kept.Bytes(design, block)).ToList();
        var copies = design.Blocks.Zip(count.Blocks, (block, parameters) => elementSize == 4 ? 0.0
            : elementSize * (parameters.Total + (block.Shared is { } use ? design.SharedTransformers[use.Transformer].CountParameters(design.Width) : 0))).ToList();
        // embedding's output is the first block's input; then the last norm's input and output
        double activations = 2 * input * tokens + blocks.Sum(), weights = copies.Sum();
        if (checkpointing)
        {
            // when a block has been computed again, those before it hold their inputs
            int worst = Enumerable.Range(0, blocks.Count).MaxBy(i => (i + 1) * input * tokens + blocks[i] + copies[i]);
            (activations, weights) = (2 * input * tokens + (worst + 1) * input * tokens + blocks[worst], copies[worst]);
        }
        long parameters = 4 * count.Total;
        long head = count.Head > 0 ? count.Head : count.Embedding;
        double loss = device == DeviceType.CPU ? 4 * head + input * tokens : Kernels.SavedStateMemory.Logits(tokens, design.VocabularySize, design.Width, elementSize) + (elementSize == 4 ? 0 : elementSize * head);
        return new(parameters, parameters, 2 * parameters, (long)weights, (long)loss, (long)activations);
    }
}
