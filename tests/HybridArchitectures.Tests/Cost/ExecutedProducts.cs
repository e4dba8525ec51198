using System.Text.Json;

namespace HybridArchitectures.Tests.Cost;

/// <summary>Contains the operations of the matrix products in libtorch's record of executed operators.</summary>
/// <param name="Products">Of products of matrices, by the shapes of the operators.</param>
/// <param name="Attention">Of fused attention, forward and backward.</param>
public sealed record ExecutedProducts(double Products, double Attention)
{
    public static ExecutedProducts Read(string path)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(path));
        double products = 0, attention = 0;
        foreach (var node in document.RootElement.GetProperty("nodes").EnumerateArray())
        {
            var inputs = node.GetProperty("inputs");
            var shapes = inputs.GetProperty("shapes");
            long Size(int input, int dimension) => shapes[input][dimension].GetInt64();
            // each operator that is part of another has a separate node: only those that multiply count
            switch (node.GetProperty("name").GetString())
            {
                case "aten::mm": products += 2.0 * Size(0, 0) * Size(0, 1) * Size(1, 1); break;
                case "aten::addmm" or "aten::addmm_": products += 2.0 * Size(1, 0) * Size(1, 1) * Size(2, 1); break;
                case "aten::bmm": products += 2.0 * Size(0, 0) * Size(0, 1) * Size(0, 2) * Size(1, 2); break;
                // half a product: one factor is a triangle
                case "aten::linalg_solve_triangular": products += 1.0 * Size(0, 0) * Size(0, 1) * Size(0, 1) * Size(1, 2); break;
                case "aten::_scaled_dot_product_flash_attention_for_cpu": attention += Attention(0, 2); break;
                case "aten::_scaled_dot_product_flash_attention_for_cpu_backward": attention += Attention(1, 5); break;
                case "aten::baddbmm" or "aten::dot" or "aten::mv" or "aten::addmv"
                    or "aten::_scaled_dot_product_attention_math": throw new InvalidDataException(
                    $"{path}: {node.GetProperty("name")}, which is not counted");
            }

            // query (B, H, L, D) and key (B, K, S, D); the products of queries and keys, or of weights and values
            double Attention(int query, int count)
            {
                bool causal = inputs.GetProperty("values").EnumerateArray()
                    .First(value => value.ValueKind is JsonValueKind.True or JsonValueKind.False).GetBoolean();
                double queries = Size(query, 2), keys = Size(query + 1, 2), pairs = causal ? queries * (queries + 1) / 2 : queries * keys;
                return 2.0 * count * pairs * Size(query, 0) * Size(query, 1) * Size(query, 3);
            }
        }
        return new(products, attention);
    }
}
