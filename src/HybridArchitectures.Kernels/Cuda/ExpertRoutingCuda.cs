using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>
/// Routes the tokens of a decoding step to experts, and adds the outputs of experts up, with the kernels in <c>ExpertRouting.cu</c>.
/// </summary>
static class ExpertRoutingCuda
{
    const long MaxTokens = 64, MaxExperts = 1024;

    struct RouteArguments
    {
        public nint X, Weight, Bias, Chosen, Weights;
        public long Experts, Inputs, XRow, Choices, Sigmoid, Renormalize;
        public float Scale;
    }

    struct MixArguments
    {
        public nint Outputs, Weights, Common, Result;
        public long Tokens, Choices, Width;
    }

    /// <summary>Returns whether the kernels take tokens (tokens, width) and a router (experts, width).</summary>
    public static bool Serves(Tensor tokens, Tensor router) =>
        tokens.dtype == ScalarType.BFloat16 && router.dtype == ScalarType.Float32 && tokens.size(0) is > 0 and <= MaxTokens
        && tokens.size(1) % 8 == 0 && router.size(0) <= MaxExperts && (tokens.device_type == DeviceType.CUDA || CudaRuntime.Emulated)
        && tokens.is_contiguous() && router.is_contiguous() && CudaMemory.Address(tokens) % 16 == 0 && CudaMemory.Address(router) % 16 == 0;

    /// <summary>Selects the experts of each token.</summary>
    /// <param name="tokens">(tokens, width) bfloat16.</param>
    /// <param name="router">(experts, width) float32.</param>
    /// <param name="bias">(experts) float32, added to the scores for the selection alone, or null.</param>
    /// <param name="choices">The number of experts per token.</param>
    /// <param name="sigmoid">Whether scores are sigmoids of the logits; otherwise their softmax.</param>
    /// <param name="renormalize">Whether the weights of a token are divided by their sum.</param>
    /// <param name="scale">The multiplier of the weights.</param>
    /// <returns>The experts, (tokens, choices) int64, best first, and their weights, (tokens, choices) bfloat16.</returns>
    public static (Tensor Chosen, Tensor Weights) Route(Tensor tokens, Tensor router, Tensor? bias, int choices, bool sigmoid, bool renormalize,
        double scale)
    {
        long rows = tokens.size(0), experts = router.size(0);
        Tensor chosen = CudaMemory.New(tokens, ScalarType.Int64, rows, choices), weights = CudaMemory.New(tokens, ScalarType.BFloat16, rows, choices);
        var arguments = new RouteArguments
        {
            X = CudaMemory.Address(tokens), Weight = CudaMemory.Address(router), Bias = CudaMemory.Address(bias),
            Chosen = CudaMemory.Address(chosen), Weights = CudaMemory.Address(weights), Experts = experts, Inputs = tokens.size(1),
            XRow = tokens.stride(0), Choices = choices, Sigmoid = sigmoid ? 1 : 0, Renormalize = renormalize ? 1 : 0, Scale = (float)scale,
        };
        CudaRuntime.DeviceOf(tokens).Launch("ExpertRouting.cu", "route_experts", (rows, 1, 1), 256,
            sizeof(float) * (int)(2 * experts + choices), arguments);
        GC.KeepAlive((tokens, router, bias, chosen, weights));
        return (chosen, weights);
    }

    /// <summary>Adds up the outputs of the experts of each token, and what tokens share.</summary>
    /// <param name="outputs">(tokens x choices, width) bfloat16.</param>
    /// <param name="weights">(tokens, choices) bfloat16, or null for 1.</param>
    /// <param name="common">(tokens, width) bfloat16, or null.</param>
    /// <param name="choices">The number of experts per token.</param>
    /// <returns>(tokens, width) bfloat16.</returns>
    public static Tensor Mix(Tensor outputs, Tensor? weights, Tensor? common, int choices)
    {
        using var scope = NewDisposeScope();
        (outputs, weights, common) = (outputs.contiguous(), weights?.contiguous(), common?.contiguous());
        long tokens = outputs.size(0) / choices, width = outputs.size(1);
        var result = CudaMemory.New(outputs, ScalarType.BFloat16, tokens, width);
        var arguments = new MixArguments
        {
            Outputs = CudaMemory.Address(outputs), Weights = CudaMemory.Address(weights), Common = CudaMemory.Address(common),
            Result = CudaMemory.Address(result), Tokens = tokens, Choices = choices, Width = width,
        };
        CudaRuntime.DeviceOf(outputs).Launch("ExpertRouting.cu", "mix_experts", ((tokens * width / 8 + 127) / 128, 1, 1), 128, 0, arguments);
        GC.KeepAlive((outputs, weights, common, result));
        return result.MoveToOuterDisposeScope();
    }
}
