using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>Represents a model from which another one learns.</summary>
sealed class Teacher
{
    // of each tensor, for the mark
    const int HashedElements = 4096;

    public Teacher(HybridLanguageModel model)
    {
        ArgumentNullException.ThrowIfNull(model, "teacher");
        Model = model;
        Mark = ComputeMark(model);
    }

    public HybridLanguageModel Model { get; }

    /// <summary>Gets a mark of design and weights: a hash of the design and of the first 4,096 elements of each tensor.</summary>
    public string Mark { get; }

    /// <summary>Returns the mark of a model.</summary>
    public static string ComputeMark(HybridLanguageModel model)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(model.Design.ToJson()));
        using var noGrad = no_grad();
        foreach (var (name, value) in model.State.OrderBy(item => item.Key, StringComparer.Ordinal))
        {
            using var scope = NewDisposeScope();
            var flat = value.detach().reshape(-1);
            var first = flat.narrow(0, 0, Math.Min(HashedElements, flat.size(0))).to(ScalarType.Float32);
            hash.AppendData(Encoding.UTF8.GetBytes(name));
            hash.AppendData(MemoryMarshal.AsBytes(TensorMemory.ToArray<float>(first).AsSpan()));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }

    /// <summary>Runs a function of the teacher without gradients and without training behaviour such as dropout.</summary>
    public T Ask<T>(Func<HybridLanguageModel, T> question)
    {
        using var noGrad = no_grad();
        bool wasTraining = Model.training;
        if (wasTraining) Model.eval();
        try
        {
            return question(Model);
        }
        finally
        {
            if (wasTraining) Model.train();
        }
    }

    /// <summary>Checks that the teacher is on the device of a model.</summary>
    public void RequireDeviceOf(HybridLanguageModel model)
    {
        if (Model.Device.type != model.Device.type)
            throw Require.Unfit("teacher", $"teacher is on {Model.Device}", $"{model.Device}, the device of the model");
    }
}
